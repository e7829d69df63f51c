//! dify-sandbox's environment variables.

use super::words::{Allowed, count, paths, port, seconds, yes_or_no};
use super::{ConfigError, Read};

/// Variables that have no effect here, and why.
const UNUSED: [(&str, &str); 4] = [
    ("PIP_MIRROR_URL", super::file::NO_PIP),
    ("PYTHON_DEPS_UPDATE_INTERVAL", super::file::NO_PIP),
    (
        "SYSTEM_LIB_REQUIREMENTS",
        "the root is planned from the interpreter; PYTHON_LIB_PATH adds paths to it",
    ),
    (
        "GIN_MODE",
        "it is for the web framework that dify-sandbox is made with; DEBUG says whether more is logged",
    ),
];

pub(super) fn read(read: &mut Read, get: &dyn Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
    let get = |name: &'static str| {
        let value = get(name).filter(|value| !value.is_empty());
        value.map(|value| Variable { name, value })
    };
    let config = &mut read.config;
    if let Some(given) = get("DEBUG") {
        // Many programs read a variable of this name; dify-sandbox, too, ignores what is not for it.
        match yes_or_no(&given.value) {
            Some(debug) => config.debug = Some(debug),
            None => read.warnings.push(format!(
                "DEBUG={}: expected true or false; it is not used",
                given.value
            )),
        }
    }
    if let Some(given) = get("MAX_WORKERS") {
        config.max_workers = Some(given.number(count)?);
    }
    if let Some(given) = get("MAX_REQUESTS") {
        config.max_requests = Some(given.number(count)?);
    }
    if let Some(given) = get("SANDBOX_PORT") {
        config.port = Some(given.number(port)?);
    }
    if let Some(given) = get("WORKER_TIMEOUT") {
        config.worker_timeout = Some(given.number(seconds)?);
    }
    if let Some(given) = get("API_KEY") {
        config.key = Some(given.value);
    }
    if let Some(given) = get("PYTHON_PATH") {
        config.python_path = Some(given.value.into());
    }
    if let Some(given) = get("PYTHON_LIB_PATH") {
        config.python_lib_path = paths(&given.value);
    }
    if let Some(given) = get("NODEJS_PATH") {
        config.nodejs_path = Some(given.value.into());
    }
    if let Some(given) = get("ENABLE_NETWORK") {
        config.enable_network = Some(given.yes_or_no()?);
    }
    if let Some(given) = get("ENABLE_PRELOAD") {
        config.enable_preload = Some(given.yes_or_no()?);
    }
    if let Some(given) = get("ALLOWED_SYSCALLS") {
        config.allowed = Some(Allowed::of(&given.value));
    }
    // Variables of these names are there for many programs: they count where code has a network.
    if config.enable_network == Some(true) {
        for (name, proxy) in [
            ("SOCKS5_PROXY", &mut config.proxy.socks5),
            ("HTTPS_PROXY", &mut config.proxy.https),
            ("HTTP_PROXY", &mut config.proxy.http),
        ] {
            if let Some(given) = get(name) {
                *proxy = Some(given.value);
            }
        }
    }
    for (name, why) in UNUSED {
        if get(name).is_some() {
            read.warnings.push(format!("{name} is not used: {why}"));
        }
    }
    Ok(())
}

/// A variable that is set.
struct Variable {
    name: &'static str,
    value: String,
}

impl Variable {
    fn error(&self, what: impl Into<String>) -> ConfigError {
        ConfigError {
            place: format!("{}={}", self.name, self.value),
            what: what.into(),
        }
    }

    fn number<T>(&self, of: impl Fn(u64) -> Result<T, String>) -> Result<T, ConfigError> {
        let number = self
            .value
            .trim()
            .parse()
            .map_err(|_| "expected a whole number".to_owned());
        number.and_then(of).map_err(|what| self.error(what))
    }

    fn yes_or_no(&self) -> Result<bool, ConfigError> {
        yes_or_no(&self.value).ok_or_else(|| self.error("expected true or false"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn given(variables: &[(&str, &str)]) -> Result<Read, ConfigError> {
        let mut all = Read::default();
        let get = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        read(&mut all, &get).map(|()| all)
    }

    #[test]
    fn variables_come_before_the_file_and_empty_ones_do_not_count() {
        let mut all = Read::default();
        all.file("max_workers: 2\nworker_timeout: 7\n", "config.yaml")
            .unwrap();
        let get = |name: &str| match name {
            "MAX_WORKERS" => Some("9".to_owned()),
            "WORKER_TIMEOUT" => Some(String::new()),
            _ => None,
        };
        all.environment(&get).unwrap();
        assert_eq!(all.config.max_workers, Some(9));
        assert_eq!(all.config.worker_timeout, Some(Duration::from_secs(7)));
    }

    #[test]
    fn what_can_not_be_meant_is_an_error_with_the_variables_name() {
        for (name, value) in [
            ("MAX_WORKERS", "0"),
            ("MAX_WORKERS", "many"),
            ("MAX_REQUESTS", "-1"),
            ("SANDBOX_PORT", "70000"),
            ("WORKER_TIMEOUT", "1.5"),
            ("ENABLE_NETWORK", "yes"),
            ("ENABLE_PRELOAD", "on"),
        ] {
            let error = given(&[(name, value)]).unwrap_err();
            assert_eq!(error.place, format!("{name}={value}"));
        }
    }

    #[test]
    fn proxies_count_only_with_a_network() {
        let proxy = ("HTTPS_PROXY", "http://proxy:3128");
        assert_eq!(given(&[proxy]).unwrap().config.proxy.variables(), []);
        let with = given(&[("ENABLE_NETWORK", "true"), proxy]).unwrap();
        assert_eq!(with.config.proxy.variables(), [proxy]);
        let both = given(&[("ENABLE_NETWORK", "1"), proxy, ("SOCKS5_PROXY", "socks5h://s")]).unwrap();
        let socks = "socks5h://s";
        assert_eq!(
            both.config.proxy.variables(),
            [("HTTPS_PROXY", socks), ("HTTP_PROXY", socks)]
        );
    }

    #[test]
    fn what_is_not_used_is_told() {
        let all = given(&[("DEBUG", "*"), ("PIP_MIRROR_URL", "https://mirror")]).unwrap();
        assert_eq!(all.warnings.len(), 2, "{:?}", all.warnings);
        assert!(all.warnings[0].contains("DEBUG=*") && all.warnings[1].contains("PIP_MIRROR_URL"));
    }

    #[test]
    fn allowed_calls_are_numbers_names_or_a_policy() {
        let allowed = |value| given(&[("ALLOWED_SYSCALLS", value)]).unwrap().config.allowed;
        let calls = |words: &[&str]| Some(Allowed::Calls(words.iter().map(|w| (*w).to_owned()).collect()));
        assert_eq!(allowed("0,1, 435"), calls(&["0", "1", "435"]));
        assert_eq!(
            allowed("sched_setaffinity,mkdir"),
            calls(&["sched_setaffinity", "mkdir"])
        );
        assert_eq!(
            allowed("./more.policy.json"),
            Some(Allowed::Policy("./more.policy.json".into()))
        );
    }
}
