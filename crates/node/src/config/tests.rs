//! Configuration at the door: what a combination of flags, variables and file becomes, or how it is refused.

use expect_test::{Expect, expect};

use super::{Layer, Options, load};
use crate::scratch::Scratch;

fn read(
    flags: &[(&'static str, &str)],
    variables: &[(&str, &str)],
    toml: Option<&str>,
) -> Result<Options, String> {
    let scratch = Scratch::new("config");
    let directory = scratch.path();
    let mut layer = Layer::flags();
    for (name, value) in flags {
        layer = match *name {
            "drives" => layer.with_list("drives", value.split(' ').map(str::to_owned).collect()),
            name => layer.with(name, Some((*value).to_owned())),
        };
    }
    if let Some(text) = toml {
        let path = directory.join("pangea.toml");
        std::fs::write(&path, text).expect("a temporary file");
        layer = layer.with("config", Some(path.to_str().expect("utf-8").to_owned()));
    }
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let result = load(layer, variables);
    let here = directory.to_str().expect("utf-8").to_owned();
    result.map_err(|error| format!("{error}\n{}", error.advice()).replace(&here, ""))
}

fn refused(flags: &[(&'static str, &str)], variables: &[(&str, &str)], toml: Option<&str>, expected: Expect) {
    expected.assert_eq(&read(flags, variables, toml).expect_err("must be refused"));
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let file = "drives = [\"/from/file\"]\nregion = \"file\"\nlisten = \"127.0.0.1:1\"\nscrub_days = 7\nerasure = \"2+1\"";
    let variables = [("PANGEA_REGION", "variable"), ("PANGEA_LISTEN", "127.0.0.1:2"), ("HOME", "/root")];
    let options = read(&[("listen", "127.0.0.1:3")], &variables, Some(file)).expect("valid");
    assert_eq!(options.listen.port(), 3);
    assert_eq!(options.region, "variable");
    assert_eq!(options.scrub_days, 7);
    assert_eq!(options.erasure.map(|code| code.to_string()), Some("2+1".into()));
    assert_eq!(options.admin_listen.to_string(), super::ADMIN_LISTEN_DEFAULT);
    assert_eq!(options.drives, [std::path::PathBuf::from("/from/file")]);
}

#[test]
fn drives_come_from_flags_or_a_variable_as_a_whole() {
    let options = read(&[("drives", "a b")], &[("PANGEA_DRIVES", "c,d,e")], None).expect("valid");
    assert_eq!(options.drives.len(), 2);
    let options = read(&[], &[("PANGEA_DRIVES", "c,d,e")], None).expect("valid");
    assert_eq!(options.drives.len(), 3);
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_valid_one() {
    refused(
        &[("drives", "a")],
        &[],
        Some("admin_listn = \"x\""),
        expect![[r#"
            /pangea.toml: there is no setting `admin_listn`; did you mean `admin_listen`?
            valid settings: drives, listen, admin_listen, erasure, region, key_file, root_access_key, io_engine, scrub_days, log, domain, tls, tls_cert, tls_key, node_listen, advertise, join, label, meta, meta_patience, request_log, max_connections, max_connections_per_address, max_requests, key_rate, queue_wait, head_timeout, idle_timeout, body_grace, body_rate, answer_grace, answer_rate, max_put_bytes"#]],
    );
    refused(
        &[("drives", "a")],
        &[],
        Some("[server]\nlisten = \"x\""),
        expect![[r#"
            /pangea.toml: there is no setting `server`
            valid settings: drives, listen, admin_listen, erasure, region, key_file, root_access_key, io_engine, scrub_days, log, domain, tls, tls_cert, tls_key, node_listen, advertise, join, label, meta, meta_patience, request_log, max_connections, max_connections_per_address, max_requests, key_rate, queue_wait, head_timeout, idle_timeout, body_grace, body_rate, answer_grace, answer_rate, max_put_bytes"#]],
    );
}

#[test]
fn a_secret_in_the_file_is_refused_without_repeating_it() {
    refused(
        &[("drives", "a")],
        &[],
        Some("root_secret_key = \"hush-hush\""),
        expect![[r#"
        /pangea.toml: `root_secret_key` is a secret and does not belong in a file
        set the environment variable PANGEA_ROOT_SECRET_KEY instead"#]],
    );
    refused(
        &[("drives", "a")],
        &[("PANGEA_ROOT_SECRET_KEY", "short")],
        None,
        expect![[r#"
        PANGEA_ROOT_SECRET_KEY must be 8 to 256 visible ASCII characters
        correct the value; `pangea server --help` shows every setting"#]],
    );
}

#[test]
fn values_that_cannot_be_say_where_they_were_given() {
    refused(
        &[("drives", "a"), ("erasure", "4")],
        &[],
        None,
        expect![[r#"
        --erasure must be K+M with K at least 1 and K+M at most 255, not `4`
        correct the value; `pangea server --help` shows every setting"#]],
    );
    refused(
        &[("drives", "a")],
        &[("PANGEA_LISTEN", "nowhere")],
        None,
        expect![[r#"
        PANGEA_LISTEN must be HOST:PORT, not `nowhere`
        correct the value; `pangea server --help` shows every setting"#]],
    );
    refused(
        &[("drives", "a")],
        &[],
        Some("scrub_days = -1"),
        expect![[r#"
        `scrub_days` in /pangea.toml must be a number of days, at most 3650, not `-1`
        correct the value; `pangea server --help` shows every setting"#]],
    );
}

#[test]
fn what_belongs_together_or_excludes_each_other_is_said() {
    refused(
        &[],
        &[],
        None,
        expect![[r#"
        no drive was named
        name one or more directories: pangea server ./data"#]],
    );
    refused(
        &[("drives", "/a /a")],
        &[],
        None,
        expect![[r#"
        the drive /a was named twice
        every drive is a directory of its own"#]],
    );
    refused(
        &[("drives", "a")],
        &[("PANGEA_ROOT_ACCESS_KEY", "someone")],
        None,
        expect![[r#"
        PANGEA_ROOT_ACCESS_KEY was given without PANGEA_ROOT_SECRET_KEY
        set PANGEA_ROOT_SECRET_KEY too"#]],
    );
    refused(
        &[("drives", "a"), ("key_file", "k")],
        &[("PANGEA_KEY_PASSPHRASE", "p")],
        None,
        expect![[r#"
        key_passphrase and key_file exclude each other
        choose one of them"#]],
    );
    refused(
        &[("drives", "a"), ("admin_listen", "0.0.0.0:9001")],
        &[],
        None,
        expect![[r#"
        the admin address 0.0.0.0:9001 can be reached by others and no operator token is set
        set PANGEA_ADMIN_TOKEN (16 or more characters), or listen on 127.0.0.1"#]],
    );
}

#[test]
fn variables_that_only_look_like_ours_are_kept_for_the_log() {
    let variables = [
        ("PANGEA_PORT_9000_TCP", "tcp://10.0.0.1:9000"),
        ("PANGEA_ADMIN", "http://127.0.0.1:9001"),
        ("PANGEA_HOST_BACKUP", "http://127.0.0.1:9000"),
    ];
    let options = read(&[("drives", "a")], &variables, None).expect("valid");
    assert_eq!(options.unknown_variables, ["PANGEA_PORT_9000_TCP"]);
}

#[test]
fn nothing_secret_is_printed() {
    let variables = [
        ("PANGEA_ROOT_ACCESS_KEY", "someone"),
        ("PANGEA_ROOT_SECRET_KEY", "hush-hush-hush"),
        ("PANGEA_KEY_PASSPHRASE", "hush-hush-hush"),
        ("PANGEA_ADMIN_TOKEN", "hush-hush-hush-hush"),
    ];
    let options = read(&[("drives", "a")], &variables, None).expect("valid");
    assert!(!format!("{options:?}").contains("hush"), "{options:?}");
}
