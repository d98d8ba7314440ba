//! Settings for OpenTelemetry: which collector gets traces and logs.

use reqwest::Url;

use super::Settings;

/// Where traces and logs are sent. OpenTelemetry's own variables for everything else,
/// such as headers, timeouts and sampling, are read by its libraries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtlpConfig {
    /// The collector of traces, as a URL.
    pub traces: Option<String>,
    /// The collector of logs and audit entries, as a URL.
    pub logs: Option<String>,
}

/// The signals, and the variables that configure each.
struct Signal {
    exporter: &'static str,
    endpoint: &'static str,
    protocol: &'static str,
}

const TRACES: Signal = Signal {
    exporter: "OTEL_TRACES_EXPORTER",
    endpoint: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    protocol: "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
};

const LOGS: Signal = Signal {
    exporter: "OTEL_LOGS_EXPORTER",
    endpoint: "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
    protocol: "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
};

impl Settings {
    /// The settings of this module, checked.
    pub(super) fn check_otlp(
        &self,
        environment: &impl Fn(&str) -> Option<String>,
        problems: &mut Vec<String>,
    ) -> OtlpConfig {
        let var = |name: &str| environment(name).filter(|value| !value.is_empty());
        if var("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return OtlpConfig::default();
        }
        let mut signal = |signal: &Signal| {
            let wanted = match var(signal.exporter).as_deref() {
                None | Some("otlp") => true,
                Some("none") => false,
                Some(other) => {
                    problems.push(format!(
                        "{} must be otlp or none, not {other:?}",
                        signal.exporter
                    ));
                    false
                }
            };
            let (name, text) = match var(signal.endpoint) {
                Some(text) => (signal.endpoint, text),
                None => ("otlp-endpoint", self.otlp_endpoint.clone()?),
            };
            let protocol = var(signal.protocol).or_else(|| var("OTEL_EXPORTER_OTLP_PROTOCOL"));
            match protocol.as_deref() {
                None | Some("grpc") => {}
                Some(other) => problems.push(format!(
                    "{} or OTEL_EXPORTER_OTLP_PROTOCOL must be grpc, the only supported \
                     protocol, not {other:?}",
                    signal.protocol
                )),
            }
            let endpoint = endpoint(name, &text, problems)?;
            wanted.then_some(endpoint)
        };
        OtlpConfig {
            traces: signal(&TRACES),
            logs: signal(&LOGS),
        }
    }
}

/// A collector's address, without a user name or password, which would be shown.
fn endpoint(name: &str, text: &str, problems: &mut Vec<String>) -> Option<String> {
    let good = Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
    });
    if good.is_none() {
        let problem = format!(
            "{name} must be a URL such as http://127.0.0.1:4317, without a password: an API key \
             for the collector goes into OTEL_EXPORTER_OTLP_HEADERS"
        );
        // Both signals may have the address from the same setting.
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    good.map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(flag: Option<&str>, variables: &[(&str, &str)]) -> Result<OtlpConfig, Vec<String>> {
        let settings = Settings {
            otlp_endpoint: flag.map(str::to_owned),
            ..Settings::default()
        };
        let environment = |name: &str| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let mut problems = Vec::new();
        let config = settings.check_otlp(&environment, &mut problems);
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }

    fn to(traces: Option<&str>, logs: Option<&str>) -> Result<OtlpConfig, Vec<String>> {
        Ok(OtlpConfig {
            traces: traces.map(str::to_owned),
            logs: logs.map(str::to_owned),
        })
    }

    #[test]
    fn a_signal_goes_where_its_own_variable_says_or_nowhere() {
        let (one, other) = ("http://collector:4317", "https://logs.example:4317");
        assert_eq!(checked(None, &[]), to(None, None));
        assert_eq!(checked(Some(one), &[]), to(Some(one), Some(one)));
        let variables = [("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", other)];
        assert_eq!(checked(Some(one), &variables), to(Some(one), Some(other)));
        assert_eq!(checked(None, &variables), to(None, Some(other)));
        let variables = [("OTEL_TRACES_EXPORTER", "none")];
        assert_eq!(checked(Some(one), &variables), to(None, Some(one)));
        let variables = [("OTEL_SDK_DISABLED", "true")];
        assert_eq!(checked(Some(one), &variables), to(None, None));
    }

    #[test]
    fn what_cannot_be_done_is_refused_without_repeating_a_password() {
        for (flag, variable) in [
            ("collector:4317", ("", "")),
            ("http://name:hunter2@collector:4317", ("", "")),
            (
                "http://collector",
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ),
            ("http://collector", ("OTEL_LOGS_EXPORTER", "console")),
        ] {
            let problems = checked(Some(flag), &[variable]).unwrap_err().join("\n");
            assert!(!problems.contains("hunter2"), "{problems}");
        }
    }
}
