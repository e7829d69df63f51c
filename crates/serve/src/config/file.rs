//! dify-sandbox's `config.yaml`.

mod setting;

use callgate_policy::import::yaml::documents;
use serde_json::{Map, Value};

use super::words::{Allowed, count, paths, port, seconds};
use super::{ConfigError, Read};
use setting::Setting;

/// Why pip is not called.
pub(super) const NO_PIP: &str =
    "callgate installs nothing: packages are those of the interpreter's environment";

/// The keys that can be given, `.` between a key and its map's.
const KNOWN: [&str; 18] = [
    "app.port",
    "app.debug",
    "app.key",
    "max_workers",
    "max_requests",
    "worker_timeout",
    "python_path",
    "python_lib_path",
    "nodejs_path",
    "enable_network",
    "enable_preload",
    "allowed_syscalls",
    "proxy.socks5",
    "proxy.http",
    "proxy.https",
    "log_path",
    "python_pip_mirror_url",
    "python_deps_update_interval",
];

/// The keys that have others below them.
const MAPS: [&str; 2] = ["app", "proxy"];

/// The known ones that have no effect here, and why.
const UNUSED: [(&str, &str); 3] = [
    ("log_path", "the log goes to standard error"),
    ("python_pip_mirror_url", NO_PIP),
    ("python_deps_update_interval", NO_PIP),
];

pub(super) fn read(read: &mut Read, text: &str, name: &str) -> Result<(), ConfigError> {
    let all = documents(text).map_err(|error| ConfigError {
        place: name.to_owned(),
        what: error.to_string(),
    })?;
    let [document] = &all[..] else {
        return match all.is_empty() {
            true => Ok(()),
            false => Err(ConfigError {
                place: name.to_owned(),
                what: format!("{} documents where there should be one", all.len()),
            }),
        };
    };
    let settings = match &document.value {
        Value::Object(settings) => flat(settings),
        Value::Null => return Ok(()),
        _ => {
            return Err(ConfigError {
                place: name.to_owned(),
                what: "expected keys and values: port, key, max_workers, …".to_owned(),
            });
        }
    };
    for (key, value) in settings {
        let setting = Setting {
            document,
            name,
            key: &key,
            value,
        };
        if value.is_null() {
            // `allowed_syscalls:` with nothing behind it says nothing, as in the file that is shipped.
            match KNOWN.contains(&setting.key) || MAPS.contains(&setting.key) {
                true => continue,
                false => read.warnings.push(setting.unknown()),
            }
        } else {
            take(read, &setting)?;
        }
    }
    Ok(())
}

fn take(read: &mut Read, setting: &Setting<'_>) -> Result<(), ConfigError> {
    let config = &mut read.config;
    match setting.key {
        "app.port" => config.port = Some(setting.number(port)?),
        "app.debug" => config.debug = Some(setting.yes_or_no()?),
        "app.key" => config.key = setting.text()?,
        "max_workers" => config.max_workers = Some(setting.number(count)?),
        "max_requests" => config.max_requests = Some(setting.number(count)?),
        "worker_timeout" => config.worker_timeout = Some(setting.number(seconds)?),
        "python_path" => config.python_path = setting.text()?.map(Into::into),
        "nodejs_path" => config.nodejs_path = setting.text()?.map(Into::into),
        "python_lib_path" => {
            config.python_lib_path = match setting.value {
                Value::Array(_) => setting.words()?.into_iter().map(Into::into).collect(),
                _ => setting.text()?.map(|text| paths(&text)).unwrap_or_default(),
            }
        }
        "enable_network" => config.enable_network = Some(setting.yes_or_no()?),
        "enable_preload" => config.enable_preload = Some(setting.yes_or_no()?),
        "allowed_syscalls" => {
            config.allowed = match setting.value {
                Value::Array(_) => Some(Allowed::Calls(setting.words()?)),
                _ => setting.text()?.map(|text| Allowed::of(&text)),
            }
        }
        "proxy.socks5" => config.proxy.socks5 = setting.text()?,
        "proxy.http" => config.proxy.http = setting.text()?,
        "proxy.https" => config.proxy.https = setting.text()?,
        key if MAPS.contains(&key) => return Err(setting.error("expected keys and values below it")),
        key => match UNUSED.iter().find(|(unused, _)| *unused == key) {
            Some((_, why)) => read
                .warnings
                .push(format!("{}: {key} is not used: {why}", setting.place())),
            None => read.warnings.push(setting.unknown()),
        },
    }
    Ok(())
}

/// The settings by their whole names.
fn flat(settings: &Map<String, Value>) -> Vec<(String, &Value)> {
    let mut all = Vec::new();
    for (key, value) in settings {
        match value {
            Value::Object(inner) if MAPS.contains(&key.as_str()) => {
                all.extend(inner.iter().map(|(last, value)| (format!("{key}.{last}"), value)));
            }
            _ => all.push((key.clone(), value)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::super::Config;
    use super::*;

    fn parsed(text: &str) -> Result<Read, ConfigError> {
        let mut all = Read::default();
        read(&mut all, text, "config.yaml").map(|()| all)
    }

    #[test]
    fn every_key_is_read() {
        let all = parsed(
            "app:\n  port: 8200\n  debug: True\n  key: s3cret\nmax_workers: 2\nmax_requests: 9\nworker_timeout: 7\n\
             python_path: /opt/python/bin/python3\npython_lib_path:\n  - /usr/lib/extra\n  - /srv/data\n\
             nodejs_path: /usr/bin/node\nenable_network: True\nenable_preload: False\n\
             allowed_syscalls: [1, 0x2, mkdir]\nproxy:\n  socks5: ''\n  http: 'http://p'\n  https: ''\n",
        )
        .unwrap();
        let expected = Config {
            port: Some(8200),
            debug: Some(true),
            key: Some("s3cret".into()),
            max_workers: Some(2),
            max_requests: Some(9),
            worker_timeout: Some(Duration::from_secs(7)),
            python_path: Some("/opt/python/bin/python3".into()),
            nodejs_path: Some("/usr/bin/node".into()),
            python_lib_path: vec!["/usr/lib/extra".into(), PathBuf::from("/srv/data")],
            enable_network: Some(true),
            enable_preload: Some(false),
            allowed: all.config.allowed.clone(),
            proxy: super::super::Proxy {
                http: Some("http://p".into()),
                ..Default::default()
            },
        };
        assert_eq!(all.config, expected);
        let Some(Allowed::Calls(calls)) = &all.config.allowed else {
            panic!("{all:?}");
        };
        assert_eq!(calls.len(), 3);
        assert_eq!(all.warnings, [] as [String; 0]);
    }

    #[test]
    fn a_key_is_what_is_written_whatever_else_it_could_be() {
        for (written, key) in [
            ("0123", "0123"),
            ("0x1F", "0x1F"),
            ("true", "true"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("'0123' # quoted", "0123"),
        ] {
            let all = parsed(&format!("app:\n  key: {written}\n")).unwrap();
            assert_eq!(all.config.key.as_deref(), Some(key));
        }
    }

    #[test]
    fn yes_and_no_are_what_they_were_before_yaml_had_true_and_false_alone() {
        let all = parsed("enable_network: yes\nenable_preload: 'off'\napp:\n  debug: On\n").unwrap();
        let Config {
            enable_network,
            enable_preload,
            debug,
            ..
        } = all.config;
        assert_eq!(
            (enable_network, enable_preload, debug),
            (Some(true), Some(false), Some(true))
        );
    }

    #[test]
    fn the_file_that_dify_ships_is_read() {
        let all =
            parsed("app:\n  port: 8194\nlog_path: './logs'\nallowed_syscalls: # none\nproxy:\n  http: ''\n")
                .unwrap();
        assert_eq!(all.config.allowed, None);
        assert_eq!(all.warnings.len(), 1, "{:?}", all.warnings);
        assert!(all.warnings[0].contains("line 3") && all.warnings[0].contains("log_path"));
        assert_eq!(parsed("").unwrap(), Read::default());
    }

    #[test]
    fn an_unknown_key_is_a_warning_with_its_line() {
        let all = parsed("max_workers: 2\napp:\n  prot: 1\nworker: 3\nmore:\n").unwrap();
        let [one, two, three] = &all.warnings[..] else {
            panic!("{:?}", all.warnings);
        };
        assert!(one.contains("line 3") && one.contains("app.prot"), "{one}");
        assert!(two.contains("line 4") && two.contains("the key worker "), "{two}");
        assert!(three.contains("more"), "{three}");
    }

    #[test]
    fn what_can_not_be_meant_is_an_error_with_its_line() {
        for text in [
            "max_workers: many",
            "max_workers: 0",
            "app:\n  port: 70000",
            "worker_timeout: 1.5",
            "enable_network: 'maybe'",
            "app:\n  key: [1]",
            "app: 8194",
            "proxy: http://p",
            "allowed_syscalls: [[1]]",
            "max_workers: 1\nmax_workers: 2",
            "- 1",
            "a: &x 1\nb: *x",
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.to_string().starts_with("config.yaml"), "{error}");
        }
        let error = parsed("app:\n  port: 70000").unwrap_err();
        assert_eq!(
            error.to_string(),
            "config.yaml line 2: app.port: expected a port: a number up to 65535"
        );
    }
}
