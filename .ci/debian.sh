# shellcheck shell=bash
# What the scripts that make Debian trees share: where Debian is got from, and retries. To be sourced, with `me` set.

say() { printf '%s: %s\n' "${me:?}" "$*" >&2; }

die() {
    printf '%s: %s\n' "${me:?}" "$*" >&2
    exit 1
}

# Mounts are made in a mount namespace of this process alone: they end with it, however it ends.
own_mount_namespace() {
    [[ $(id -u) == 0 ]] || die "must be run as root: debootstrap and chroot need it"
    [[ ${1:-} == --in-own-mounts ]] ||
        exec unshare --mount --propagation private bash "$0" --in-own-mounts "$@"
}

retry() {
    local attempt
    for attempt in 1 2 3; do
        "$@" && return
        say "attempt $attempt of 3 failed: $*"
        sleep $((attempt * 5))
    done
    return 1
}

# The Debian mirror of this machine, from apt itself, so that every way of writing sources is understood.
mirror() {
    if [[ -n ${CALLGATE_DEBIAN_MIRROR:-} ]]; then
        printf '%s\n' "$CALLGATE_DEBIAN_MIRROR"
        return
    fi
    debian_mirrors | grep -q . || retry apt-get -q update >&2
    local found
    found=$(debian_mirrors | head -n 1)
    [[ -n $found ]] ||
        die "apt on this machine has no Debian archive: set CALLGATE_DEBIAN_MIRROR to the URL of one"
    printf '%s\n' "$found"
}

# Label is "Debian" for the archive itself, "Debian-Security" and others for those without rustc.
debian_mirrors() {
    apt-get indextargets --format "\$(LABEL) \$(COMPONENT) \$(REPO_URI)" 'Created-By: Packages' |
        awk '$1 == "Debian" && $2 == "main" && $3 ~ /^https?:/ && !seen[$3]++ { print $3 }'
}

# How this machine's apt goes to the mirror, as a configuration: proxies, time-outs, certificates. IndexTargets only
# adds indices, for programs that are not there.
acquire_settings() {
    apt-config dump --no-empty --format '%F "%v";%n' Acquire | sed '/^Acquire::IndexTargets/d'
}

# Makes a new tree: bootstrap DIRECTORY OPTION…, with the whole log beside it.
bootstrap() {
    local into=$1 from scheme proxy keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    shift
    command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap"
    [[ -f $keyring ]] || die "$keyring is missing: apt-get install debian-archive-keyring"
    from=$(mirror)
    say "making $into from $from"
    # debootstrap's downloader doesn't read apt's configuration.
    for scheme in http https; do
        proxy=$(apt-config shell value "Acquire::$scheme::Proxy" | sed "s/^value='\(.*\)'$/\1/")
        [[ -z $proxy || $proxy == DIRECT ]] || export "${scheme}_proxy=$proxy"
    done
    rm -rf --one-file-system "$into"
    mkdir -p "$into"
    retry debootstrap --variant=minbase --force-check-gpg --keyring="$keyring" "$@" trixie "$into" "$from" >"$into.log" 2>&1 || {
        tail -n 20 "$into.log" >&2
        die "debootstrap failed: the whole log is $into.log"
    }
}
