//! The command line as people see it: help, the announcement, the status.

use clap::{CommandFactory as _, Parser as _};
use expect_test::expect;
use pangea_node::config::{Secret, explain};
use pangea_node::control::{
    AccessKeyInfo, CreatedAccessKey, DriveStatus, KeyStatus, LayoutStatus, LogDrive, MetadataStatus, Status,
    StripeStatus, WorkerStatus,
};
use pangea_node::server::Announcement;

use crate::args::{Args, Command};
use crate::{announce, config, key, serve, status};

#[test]
fn the_grammar_is_sound() {
    Args::command().debug_assert();
}

#[test]
fn the_help_names_every_command_and_every_exit_code() {
    let help = Args::command().render_help().to_string();
    expect![[r#"
        An S3 server on encrypted, erasure-coded, self-verifying shards, and a client of any S3 endpoint

        Usage: pangea <COMMAND>

        Commands:
          server       Serve S3 from one or more directories, one a drive
          status       Show everything worth knowing of a running server
          scrub        Read every shard and mend what is wrong
          drive        Add, empty and replace the drives of a running server
          layout       Show, plan and change which drives hold the data
          cluster      Let other nodes join, and make a cluster of them
          node         Show, empty and remove the nodes of a cluster
          dev-cluster  Run a whole cluster on this machine, for trying out
          recode       Write a bucket's data anew under another erasure code, in the background
          worker       Show, pause, slow down and wake background work
          recover      Rebuild the metadata view of a stopped server and compare it with the drives
          meta         Back up the metadata of a running server, and bring a backup back
          key          Make, list and revoke access keys
          keys         Back up, restore and rotate the master key
          config       Show what flags, PANGEA_* variables and the configuration file result in, and who
                       said what
          doctor       Show what this machine offers and what a server would choose
          alias        Name S3 endpoints: set, make, list, remove
          mb           Make buckets
          rb           Remove buckets
          ls           List buckets, objects, versions, unfinished uploads
          cp           Copy files and objects; in parallel, and on from where an interrupted copy ended
          mv           Copy, and remove each source once its copy is there
          sync         Make a target's content equal to a source's, copying what differs
          rm           Remove objects, versions, unfinished uploads
          cat          Write objects to standard output
          stat         Show what is known of an object, a bucket or a file
          du           Add up sizes
          find         Find objects and files by name, size and age
          completions  Print what makes a shell complete these commands
          man          Print the manual page, or write one for each command to a directory
          help         Print this message or the help of the given subcommand(s)

        Options:
          -h, --help     Print help
          -V, --version  Print version

        Exit codes: 0 done; 1 failed; 2 configuration or usage; 3 drives; 4 keys; 5 metadata; 6 addresses;
        7 no server answers; 8 not allowed; 9 done, but something is lost or cannot be read;
        10 the cluster does not take the node.
    "#]]
    .assert_eq(&help);
}

#[test]
fn the_contract_of_the_scripts_is_understood() {
    let good: [&[&str]; 18] = [
        &["server", "a", "b", "--listen", "127.0.0.1:1", "--admin-listen", "127.0.0.1:2", "--erasure", "1+1"],
        &["server", "--config", "pangea.toml", "--region", "here", "--key-file", "k"],
        &["status", "--json", "--admin", "http://127.0.0.1:9001"],
        &["scrub", "--now", "--wait", "--admin", "http://127.0.0.1:9001"],
        &["recover", "a", "b"],
        &["recover", "a", "--deep", "--force", "--problems", "5", "--names", "list", "--json"],
        &["meta", "backup", "file", "--admin", "http://127.0.0.1:9001"],
        &["meta", "restore", "file", "a", "b", "--force", "--deep", "--key-file", "k"],
        &["keys", "backup", "file", "--admin", "http://127.0.0.1:9001"],
        &["keys", "restore", "file", "a", "b"],
        &["keys", "rotate", "--passphrase", "--protector-only"],
        &["doctor", "a", "--json"],
        &[
            "server",
            "a",
            "--tls",
            "self",
            "--domain",
            "s3.test",
            "--domain",
            "other.test",
            "--request-log",
            "-",
        ],
        &["server", "a", "--tls-cert", "c", "--tls-key", "k", "--key-rate", "100", "--max-requests", "10"],
        &["key", "create", "--grant", "read:b", "--grant", "all:@own", "--description", "x", "--json"],
        &["key", "list", "--json", "--admin", "http://127.0.0.1:9001"],
        &["key", "revoke", "A", "B"],
        &["config", "a", "--region", "here", "--json"],
    ];
    for words in good {
        let parsed = Args::try_parse_from(std::iter::once("pangea").chain(words.iter().copied()));
        assert!(parsed.is_ok(), "{words:?}: {:?}", parsed.err());
    }
    let bad: [&[&str]; 8] = [
        &["serve", "a"],
        &["recover"],
        &["meta", "restore", "file"],
        &["scrub", "--wait"],
        &["keys", "rotate", "--passphrase", "--key-file", "k"],
        &["status", "--jsn"],
        &["key", "create"],
        &["key", "revoke"],
    ];
    for words in bad {
        let parsed = Args::try_parse_from(std::iter::once("pangea").chain(words.iter().copied()));
        assert!(parsed.is_err(), "{words:?}");
    }
}

#[test]
fn flags_become_settings() {
    let words = ["pangea", "server", "a", "b", "--admin-listen", "127.0.0.1:2", "--scrub-days", "7"];
    let Command::Server(args) = Args::try_parse_from(words).expect("valid").command else {
        panic!("a server")
    };
    let layer = crate::serve::layer(&args);
    assert_eq!(layer.list("drives"), Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!((layer.text("admin_listen"), layer.text("scrub_days")), (Some("127.0.0.1:2"), Some("7")));
    assert_eq!(layer.text("listen"), None);
}

fn drive(slot: u16, state: &str) -> DriveStatus {
    DriveStatus {
        node: String::new(),
        slot,
        drive: format!("{slot:032x}"),
        dir: format!("/srv/d{slot}"),
        engine: if state == "missing" { "" } else { "uring" }.to_owned(),
        state: state.to_owned(),
        reason: None,
        replaced: None,
        capacity_bytes: 8 << 40,
        available_bytes: 3 << 40,
        live_bytes: 1_500 << 30,
        garbage_bytes: 0,
        shards: 123_456,
        errors: 0,
    }
}

fn worker(name: &str, state: &str) -> WorkerStatus {
    WorkerStatus {
        name: name.to_owned(),
        about: "does its work".to_owned(),
        state: state.to_owned(),
        passes: 1,
        done: 5,
        total: None,
        per_second: None,
        left_seconds: None,
        limit_bytes_per_second: None,
        next_seconds: None,
        last_report: None,
        last_error: None,
    }
}

fn sample() -> Status {
    let missing = DriveStatus {
        reason: Some("none of the directories that were named holds it".to_owned()),
        live_bytes: 0,
        available_bytes: 0,
        shards: 0,
        ..drive(1, "missing")
    };
    let replaced = DriveStatus { replaced: Some("ff".repeat(16)), ..drive(2, "ok") };
    let waiting = WorkerStatus {
        next_seconds: Some(90),
        last_report: Some("all well".to_owned()),
        ..worker("scrub", "waiting")
    };
    let failed = WorkerStatus { last_error: Some("no luck".to_owned()), ..worker("garbage", "running") };
    Status {
        nodes: vec![],
        version: "1.2.3".to_owned(),
        cluster: "ab".repeat(16),
        node: "cd".repeat(8),
        endpoint: "http://127.0.0.1:9000".to_owned(),
        region: "us-east-1".to_owned(),
        uptime_seconds: 90_061,
        ready: true,
        whole: false,
        not_whole_because: vec!["3 stripes lack shards".to_owned(), "drives are missing: slot 1".to_owned()],
        durability: "synced first".to_owned(),
        layout: LayoutStatus { epoch: 2, code: "2+1".to_owned(), write_quorum: 3, partitions: 4096 },
        survives: "nothing more may be lost now".to_owned(),
        survives_drives: 0,
        drives: vec![drive(0, "ok"), missing, replaced],
        stripes: StripeStatus {
            not_whole: 3,
            more: false,
            by_missing: vec![(1, 3)],
            stand_ins: 0,
            most_stand_ins: 0,
        },
        metadata: MetadataStatus {
            engine: "embedded".to_owned(),
            generation: 4,
            applied: 1000,
            snapshot: 900,
            log_bytes: 2048,
            log_drives: vec![LogDrive {
                name: "/srv/d1".to_owned(),
                ok: false,
                last_error: Some("gone".to_owned()),
            }],
            notes: vec![],
        },
        keys: KeyStatus {
            protector: "none".to_owned(),
            generation: 1,
            copies: 3,
            text: "not protected".to_owned(),
        },
        workers: vec![waiting, failed],
        notes: vec!["/srv/d2: replaced".to_owned()],
    }
}

#[test]
fn the_status_says_what_is_wrong_before_what_is_right() {
    expect![[r#"
        pangea 1.2.3, cluster abababab, up 1 d 1 h, ready
        S3        http://127.0.0.1:9000 (region us-east-1)
        Data      NOT WHOLE: 3 stripes lack shards
                  drives are missing: slot 1
                  3 stripes lack 1 shards
        Survives  nothing more may be lost now
        Durable   synced first
        Layout    epoch 2, code 2+1, writes need 3 shards, 4096 partitions
        Key       generation 1 on 3 drives; not protected
        Metadata  embedded, generation 4, 1000 requests, log 2.0 KiB on 1 drives
                  log drive /srv/d1 is out: gone

        Drives
            0  ok            1.4 TiB used     3.0 TiB free    123456 shards  uring    /srv/d0
            1  missing           0 B used         0 B free         0 shards  -        /srv/d1
               none of the directories that were named holds it
            2  ok            1.4 TiB used     3.0 TiB free    123456 shards  uring    /srv/d2
               replaces drive ffffffffffffffffffffffffffffffff

        Workers
          scrub          waiting, next in 1 min 30 s: does its work
                         last: all well
          garbage        running, 5 so far: does its work
                         FAILED: no luck

        Notes
          /srv/d2: replaced
    "#]]
    .assert_eq(&status::text(&sample()));
}

#[test]
fn the_json_of_the_status_reads_back() {
    let json = crate::operate::json(&sample()).unwrap_or_else(|_| panic!("it serialises"));
    assert!(json.contains("\"whole\": false"));
    assert_eq!(serde_json::from_str::<Status>(&json).expect("it reads back"), sample());
}

#[test]
fn the_secret_is_announced_once() {
    let announcement = |secret_key| Announcement {
        fingerprint: None,
        first: true,
        listen: "127.0.0.1:9000".parse().expect("valid"),
        admin_listen: "127.0.0.1:9001".parse().expect("valid"),
        access_key: "AKID".to_owned(),
        secret_key,
        status: sample(),
        unknown_variables: Vec::new(),
    };
    let later = announce::text(&announcement(None));
    assert!(later.contains("access key  AKID\n") && !later.contains("secret"), "{later}");
    let first = announce::text(&announcement(Some(Secret::new("s3cr3t"))));
    assert!(first.starts_with(&later));
    let pasted = "export AWS_ACCESS_KEY_ID=AKID AWS_SECRET_ACCESS_KEY=s3cr3t AWS_DEFAULT_REGION=us-east-1\n";
    assert!(first.contains(pasted), "{first}");
    assert!(first.contains("aws --endpoint-url http://127.0.0.1:9000 s3 ls s3://first\n"), "{first}");
}

#[test]
fn sizes_and_times_are_short() {
    for (bytes, text) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (102_400, "100 KiB"),
        (u64::MAX, "16383 PiB"),
    ] {
        assert_eq!(status::bytes(bytes), text);
    }
    for (seconds, text) in
        [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (7_260, "2 h 1 min"), (90_000, "1 d 1 h")]
    {
        assert_eq!(status::duration(seconds), text);
    }
}

#[test]
fn the_configuration_says_who_said_what() {
    let words = ["pangea", "config", "/a", "/b", "--region", "here", "--domain", "s3.test", "--tls", "self"];
    let Command::Config(args) = Args::try_parse_from(words).expect("valid").command else {
        panic!("a configuration")
    };
    let environment = [
        ("PANGEA_ROOT_ACCESS_KEY", "root"),
        ("PANGEA_ROOT_SECRET_KEY", "not-to-be-shown"),
        ("PANGEA_REGION", "there"),
        ("PANGEA_KEY_RATE", "100"),
        ("PANGEA_ADMIN_TOKEN", "not-to-be-shown-either"),
    ];
    let environment = environment.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let (settings, refused) = explain(serve::layer(&args.server), environment).expect("no file to read");
    assert!(refused.is_none(), "{refused:?}");
    let text = config::text(&settings);
    assert!(!text.contains("not-to-be-shown"), "{text}");
    expect![[r#"
        drives                       /a,/b                 --drives
        listen                       127.0.0.1:9000        default
        admin_listen                 127.0.0.1:9001        default
        config                       -                     default
        erasure                      -                     default
        region                       here                  --region
        key_file                     -                     default
        key_passphrase               -                     default
        root_access_key              root                  PANGEA_ROOT_ACCESS_KEY
        root_secret_key              (set, not shown)      PANGEA_ROOT_SECRET_KEY
        admin_token                  (set, not shown)      PANGEA_ADMIN_TOKEN
        io_engine                    auto                  default
        scrub_days                   30                    default
        log                          info,pangea::s3=warn  default
        domain                       s3.test               --domain
        tls                          self                  --tls
        tls_cert                     -                     default
        tls_key                      -                     default
        node_listen                  -                     default
        advertise                    -                     default
        join                         -                     default
        label                        -                     default
        meta                         -                     default
        meta_patience                30                    default
        request_log                  -                     default
        max_connections              16384                 default
        max_connections_per_address  0                     default
        max_requests                 512                   default
        key_rate                     100                   PANGEA_KEY_RATE
        queue_wait                   5                     default
        head_timeout                 10                    default
        idle_timeout                 60                    default
        body_grace                   30                    default
        body_rate                    1024                  default
        answer_grace                 30                    default
        answer_rate                  1024                  default
        max_put_bytes                5368709120            default
    "#]]
    .assert_eq(&text);
}

#[test]
fn a_configuration_that_would_be_refused_is_shown_and_refused() {
    let args = ["pangea", "config", "/a", "--tls-cert", "c"];
    let Command::Config(args) = Args::try_parse_from(args).expect("valid").command else {
        panic!("a configuration")
    };
    let (settings, refused) =
        explain(serve::layer(&args.server), std::iter::empty()).expect("no file to read");
    assert!(config::text(&settings).contains("--tls-cert"));
    expect!["tls_cert was given without tls_key"]
        .assert_eq(&refused.expect("a certificate without its key").to_string());
}

#[test]
fn access_keys_as_people_see_them() {
    let made = CreatedAccessKey { id: "ID".into(), secret: "SECRET".into(), grants: vec!["read:b".into()] };
    expect![[r#"
        access key  ID
        secret key  SECRET   (shown only now: keep it)
        may         read:b
    "#]]
    .assert_eq(&key::created(&made));
    assert!(!format!("{made:?}").contains("SECRET"));
    let info = |id: &str, description: &str, root, grants: &[&str]| AccessKeyInfo {
        id: id.into(),
        description: description.into(),
        created_ms: 0,
        root,
        grants: grants.iter().map(|grant| (*grant).to_owned()).collect(),
    };
    let keys = [
        info("ROOT", "root", true, &[]),
        info("LONGER", "backups", false, &["write:b/x/", "list:b"]),
        info("NONE", "", false, &[]),
    ];
    expect![[r#"
        ROOT    everything  (root)
        LONGER  write:b/x/ list:b  (backups)
        NONE    nothing
    "#]]
    .assert_eq(&key::list(&keys));
}
