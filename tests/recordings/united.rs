//! `dig --runs` and `dig merge`: what was not in every run is told.

use super::*;

#[test]
fn several_runs_are_united_and_what_was_not_in_every_run_is_told() {
    let dir = scratch();
    let script = "import os\nif not os.path.exists('flag'):\n    open('flag', 'w').close()\n    os.getppid()\nos.getuid()\n";
    fs::write(dir.path().join("p.py"), script).unwrap();
    let output = expect(
        0,
        callgate(["dig", "--json", "--runs", "3", "p.py"]).current_dir(dir.path()),
    );
    let trace = json(&output);
    assert_eq!(trace["runs"], 3);
    let calls = trace["syscalls"].as_array().unwrap();
    let find = |name: &str| calls.iter().find(|call| call["name"] == name).unwrap();
    // Left out where it is 1.
    assert_eq!(find("getppid")["seen_in"], Value::Null);
    assert_eq!(find("getuid")["seen_in"], 3);
    assert_eq!(find("execve")["count"], 3, "fresh processes");
    assert!(String::from_utf8_lossy(&output.stderr).contains("run 3 of 3"));
}

#[test]
fn a_run_that_fails_makes_the_whole_a_failure_and_the_trace_says_so() {
    let dir = scratch();
    fs::write(
        dir.path().join("p.py"),
        "import os, sys\nif os.path.exists('flag'): sys.exit(3)\nopen('flag', 'w')\n",
    )
    .unwrap();
    let output = expect(
        1,
        callgate(["dig", "--json", "--runs", "3", "p.py"]).current_dir(dir.path()),
    );
    let trace = json(&output);
    assert_eq!(
        (&trace["runs"], &trace["outcome"]["exit_code"]),
        (&3.into(), &3.into())
    );
}

#[test]
fn an_interrupt_ends_the_runs_and_what_was_seen_until_then_is_written() {
    let dir = scratch();
    let script = "import os, sys, time\nif os.path.exists('flag'):\n    print('second', file=sys.stderr, flush=True)\n    \
                  time.sleep(60)\nopen('flag', 'w')\n";
    fs::write(dir.path().join("p.py"), script).unwrap();
    let mut child = callgate(["dig", "--runs", "3", "-o", "t.json", "p.py"])
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "second"));
    expect(
        0,
        Command::new("sh").args(["-c", "kill -INT $1", "sh", &child.id().to_string()]),
    );
    let rest: Vec<String> = lines.map(|line| line.unwrap()).collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest:?}");
    let trace: Value = serde_json::from_slice(&fs::read(dir.path().join("t.json")).unwrap()).unwrap();
    assert_eq!(
        (&trace["runs"], &trace["outcome"]["status"]),
        (&2.into(), &"interrupted".into())
    );
    assert!(
        trace["notes"].to_string().contains("run 2 of 3"),
        "{}",
        trace["notes"]
    );
}

#[test]
fn merged_traces_are_a_trace_that_policies_are_made_of() {
    let dir = scratch();
    let ls = recorded(dir.path(), "ls.json", &["--", "/bin/ls", "/"]);
    let echo = recorded(dir.path(), "echo.json", &["--", "/bin/echo", "hello"]);
    let merged = dir.path().join("merged.json");
    expect(
        0,
        callgate(["dig", "merge", "-o"])
            .arg(&merged)
            .args([&ls, &echo, &ls]),
    );
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let (one, two, all) = (read(&ls), read(&echo), read(&merged));
    assert_eq!(all["runs"], 3);
    assert_eq!(set(&all), &set(&one) | &set(&two));
    let sum = 2 * counts(&one)["close"].0 + counts(&two)["close"].0;
    assert_eq!(counts(&all)["close"].0, sum);
    assert!(all["notes"].to_string().contains("/bin/echo"), "{}", all["notes"]);

    // Merging goes on, and what only `ls` does is not in every run.
    let again = json(&expect(
        0,
        callgate(["dig", "merge", "--json"]).args([&merged, &echo]),
    ));
    assert_eq!(again["runs"], 4);
    let shown = expect(0, callgate(["dig", "merge"]).args([&merged, &echo]));
    let shown = String::from_utf8(shown.stdout).unwrap();
    let seldom = &shown[shown.find("not in every run").unwrap()..];
    assert!(
        seldom.contains("getdents64") && seldom.contains("2 of 4 runs"),
        "{shown}"
    );

    let policy = |traces: &[&PathBuf]| json(&expect(0, callgate(["policy", "new"]).args(traces)));
    let names = |policy: &Value| -> BTreeSet<String> {
        let rules = policy["syscalls"].as_array().unwrap().iter();
        let allowed = rules.filter(|rule| rule["action"] == "SCMP_ACT_ALLOW");
        allowed
            .flat_map(|rule| rule["names"].as_array().unwrap())
            .map(|name| name.as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&policy(&[&merged])), names(&policy(&[&ls, &echo])));
}

#[test]
fn traces_of_different_architectures_are_not_merged() {
    let dir = scratch();
    let ls = recorded(dir.path(), "ls.json", &["--", "/bin/ls", "/"]);
    let other = dir.path().join("other.json");
    let trace: Value = serde_json::from_slice(&fs::read(&ls).unwrap()).unwrap();
    let arch = if trace["arch"] == "amd64" {
        "arm64"
    } else {
        "amd64"
    };
    fs::write(dir.path().join("names"), "read\n").unwrap();
    expect(
        0,
        callgate(["dig", "import", "--arch", arch, "-o"])
            .arg(&other)
            .arg(dir.path().join("names")),
    );
    let told = refused(callgate(["dig", "merge"]).args([&ls, &other]));
    assert!(told.contains("trace 2") && told.contains(arch), "{told}");
}

#[test]
fn hash_seeds_differ_from_run_to_run_unless_they_are_fixed_and_that_is_said() {
    let dir = scratch();
    let text = "import os\nopen('seeds', 'a').write(str(hash('a')) + '\\n')\n";
    fs::write(dir.path().join("p.py"), text).unwrap();
    let seeds = |args: &[&str], seed: Option<&str>| {
        let _ = fs::remove_file(dir.path().join("seeds"));
        let mut command = callgate(["dig", "--json", "--runs", "3"]);
        command
            .args(args)
            .current_dir(dir.path())
            .env_remove("PYTHONHASHSEED");
        let output = expect(0, command.envs(seed.map(|seed| ("PYTHONHASHSEED", seed))));
        let text = fs::read_to_string(dir.path().join("seeds")).unwrap();
        let different: BTreeSet<String> = text.lines().map(str::to_owned).collect();
        (different.len(), json(&output)["notes"].to_string())
    };
    assert_eq!(seeds(&["p.py"], None).0, 3);
    assert_eq!(seeds(&["p.py"], Some("7")).0, 3, "a script runs isolated from it");
    let (different, notes) = seeds(&["--", "python3", "p.py"], None);
    assert!(
        different == 3 && !notes.contains("PYTHONHASHSEED"),
        "{different}: {notes}"
    );
    let (different, notes) = seeds(&["--", "python3", "p.py"], Some("7"));
    assert!(
        different == 1 && notes.contains("PYTHONHASHSEED is 7"),
        "{different}: {notes}"
    );
}

#[test]
fn runs_without_address_randomisation_are_told() {
    if !available("setarch", tool("setarch")) {
        return;
    }
    let notes = |wrapper: &[&str], runs: &str| {
        let mut words = wrapper.to_vec();
        words.extend([CALLGATE, "dig", "--json", "--runs", runs, "--", "/bin/true"]);
        json(&expect(0, Command::new(words[0]).args(&words[1..])))["notes"].to_string()
    };
    assert!(notes(&["setarch", "-R"], "2").contains("same memory layout"));
    assert!(
        !notes(&["setarch", "-R"], "1").contains("same memory layout"),
        "one run is one layout"
    );
    let told = notes(&["env"], "2").contains("same memory layout");
    let off = fs::read_to_string("/proc/sys/kernel/randomize_va_space")
        .unwrap()
        .trim()
        == "0";
    assert_eq!(told, off);
}

#[test]
fn under_load_calls_that_wait_are_restarted_and_the_probe_ends_as_without() {
    let dir = scratch();
    let trace = json(&expect(
        0,
        &mut callgate(["dig", "--json", "--load", "--", "/bin/sleep", "0.5"]),
    ));
    let restarted = &counts(&trace)["restart_syscall"];
    assert!(restarted.0 > 1, "{restarted:?}");
    assert!(
        trace["notes"].to_string().contains("under load"),
        "{}",
        trace["notes"]
    );
    // Threads, children, pipes and a signal handler, interrupted all the time.
    let text = "import os, queue, signal, subprocess, sys, threading, time\n\
                hits = []\nsignal.signal(signal.SIGUSR1, lambda *_: hits.append(1))\n\
                q = queue.Queue()\n\
                def work(n):\n    for i in range(50):\n        q.put(n * i)\n        time.sleep(0.001)\n\
                threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]\n\
                [t.start() for t in threads]\n\
                os.kill(os.getpid(), signal.SIGUSR1)\n\
                outs = [subprocess.run(['/bin/echo', str(n)], capture_output=True, check=True).stdout for n in range(5)]\n\
                [t.join() for t in threads]\n\
                r, w = os.pipe()\n\
                if os.fork() == 0:\n    os.write(w, b'x' * 9)\n    os._exit(0)\n\
                os.wait()\n\
                print(sum(q.get() for _ in range(150)), hits, len(outs), len(os.read(r, 99)), file=sys.stderr)\n";
    fs::write(dir.path().join("p.py"), text).unwrap();
    for _ in 0..3 {
        let mut command = callgate(["dig", "--json", "--load", "p.py"]);
        let output = expect(0, command.current_dir(dir.path()));
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("3675 [1] 5 9\n"),
            "{}",
            said(&output)
        );
    }
}
