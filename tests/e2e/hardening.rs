//! What the process asks of the operating system.

use std::fs;

use serde_json::Value;

use crate::support::App;

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_leaves_no_core_dump_and_may_open_what_the_system_lets_it() {
    let app = App::start().await;
    let bound = fs::read(app.data_dir().join("serve.json")).unwrap();
    let bound: Value = serde_json::from_slice(&bound).unwrap();
    let limits = fs::read_to_string(format!("/proc/{}/limits", bound["pid"])).unwrap();
    let of = |what: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(what));
        let mut words = line.expect("the system tells it").split_whitespace();
        let soft = words.next().unwrap().to_owned();
        (soft, words.next().unwrap().to_owned())
    };
    assert_eq!(of("Max core file size"), ("0".to_owned(), "0".to_owned()));
    let (soft, hard) = of("Max open files");
    assert_eq!(soft, hard);
}
