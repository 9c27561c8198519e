//! The verbs as people see them: grammar, names, lines, errors, the files that are kept.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use clap::{CommandFactory as _, FromArgMatches as _};
use expect_test::expect;
use pangea_s3client::{Algorithm, Attributes, Head, Moment, Proof, S3Error};

use crate::args::{Args, Command};
use crate::s3::cat::Wanted;
use crate::s3::du::{Sums, Total};
use crate::s3::filter::{Filter, parse_age, parse_bytes};
use crate::s3::hosts::{AliasFile, Entry, Hosts, parse_url};
use crate::s3::ls::Line;
use crate::s3::name::{Name, below};
use crate::s3::report::{Deed, summary};
use crate::s3::resume::{DownloadNote, DownloadState, UploadNote, UploadState};
use crate::s3::walk::{self, At};
use crate::s3::words::{Choice, Common, Verb};
use crate::s3::{advice, stat};

fn parse(words: &[&str]) -> Result<Verb, clap::Error> {
    let matches =
        Args::command().try_get_matches_from(std::iter::once("pangea").chain(words.iter().copied()))?;
    let mut args = Args::from_arg_matches(&matches)?;
    if let (Command::S3(verb), Some((_, words))) = (&mut args.command, matches.subcommand()) {
        verb.remember_order(words);
    }
    let Command::S3(verb) = args.command else { panic!("a verb of objects") };
    Ok(verb)
}

/// A directory of this test's own; gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pangea-cli-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_verbs_take_what_people_type() {
    let good: [&[&str]; 16] = [
        &["alias", "set", "x", "http://h", "AK", "--default", "--region", "r", "--style", "path"],
        &["alias", "make"],
        &["alias", "list", "--json"],
        &["mb", "-p", "local/a", "local/b", "--with-versioning"],
        &["rb", "--force", "local/a"],
        &["ls"],
        &["ls", "-r", "--versions", "local/a/p"],
        &["cp", "a", "b", "local/c/", "--if-none-match", "-P", "4", "--part-size", "16MiB"],
        &["cp", "-r", "d", "s3://b/p", "--exclude", "*", "--include", "*.jpg", "-n"],
        &["mv", "local/a/x", "local/a/y", "--meta", "a=b", "--content-type", "text/plain"],
        &["sync", "d", "local/a", "--delete", "--checksum", "--insecure"],
        &["rm", "-r", "--versions", "local/a/p", "--dry-run"],
        &["cat", "local/a/x", "--range", "-5"],
        &["stat", "local/a/x", "--versions"],
        &["du", "-d", "2", "local/a"],
        &["find", "local/a", "--name", "*.gz", "--larger", "1MiB", "--older", "7d", "--print0"],
    ];
    for words in good {
        assert!(parse(words).is_ok(), "{words:?}: {}", parse(words).expect_err("an error"));
    }
    let bad: [&[&str]; 10] = [
        &["cp", "a"],
        &["cp", "-r", "--version-id", "v", "a", "b"],
        &["cp", "a", "b", "--part-size", "much"],
        &["cp", "a", "b", "--parallel", "0"],
        &["mv", "a", "b", "--meta", "ü=x"],
        &["sync", "a"],
        &["sync", "a", "b", "--checksum", "--size-only"],
        &["rm"],
        &["find", "a", "--older", "soon"],
        &["alias", "set", "x", "http://h", "--style", "other"],
    ];
    for words in bad {
        assert!(parse(words).is_err(), "{words:?}");
    }
}

#[test]
fn the_last_filter_that_matches_decides() {
    let filter = |words: &[&str]| {
        let words: Vec<&str> = ["cp", "-r", "a", "b"].iter().chain(words).copied().collect();
        let Verb::Cp(args) = parse(&words).expect("valid") else { panic!("cp") };
        Filter::new(&args.choice).unwrap_or_else(|_| panic!("good patterns"))
    };
    for (words, taken, left) in [
        (&[][..], &["a", "a/b.jpg"][..], &[][..]),
        (&["--include", "*.jpg"], &["x.jpg", "a/b.jpg"], &["a", "jpg"]),
        (&["--exclude", "*.tmp"], &["x.jpg"], &["x.tmp", "a/x.tmp"]),
        (&["--exclude", "*", "--include", "*.jpg"], &["a/b.jpg"], &["a"]),
        (&["--include", "*.jpg", "--exclude", "old/*"], &["new/a.jpg"], &["old/a.jpg", "x"]),
        (&["--exclude", "a?c/[x-z]*"], &["abc/w"], &["abc/x1"]),
    ] {
        let filter = filter(words);
        for name in taken {
            assert!(filter.takes(name), "{words:?} {name}");
        }
        for name in left {
            assert!(!filter.takes(name), "{words:?} {name}");
        }
    }
    let broken = Choice { include: vec!["[".into()], order: vec![true], ..Choice::default() };
    assert!(Filter::new(&broken).is_err());
}

#[test]
fn sizes_and_ages_are_read() {
    for (text, bytes) in
        [("0", 0), ("5k", 5120), ("10MiB", 10 << 20), ("5GB", 5_000_000_000), ("1.5K", 1536), ("7b", 7)]
    {
        assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
    }
    for bad in ["", "k", "1x", "-1", "1.2.3M", "99999999999T"] {
        assert!(parse_bytes(bad).is_err(), "{bad}");
    }
    for (text, seconds) in [("30s", 30), ("15m", 900), ("12h", 43_200), ("7d", 604_800), ("4w", 2_419_200)] {
        assert_eq!(parse_age(text), Ok(seconds), "{text}");
    }
    for bad in ["", "d", "7", "7y", "ü", "-1d", "99999999999999999999d"] {
        assert!(parse_age(bad).is_err(), "{bad}");
    }
}

#[test]
fn ranges_are_cut_to_the_object() {
    for (text, size, found) in [
        ("0-9", 100, Some((0, 10))),
        ("90-", 100, Some((90, 10))),
        ("-5", 100, Some((95, 5))),
        ("-500", 100, Some((0, 100))),
        ("50-500", 100, Some((50, 50))),
        ("100-", 100, None),
        ("-5", 0, Some((0, 0))),
    ] {
        let wanted = Wanted::parse(text).unwrap_or_else(|_| panic!("{text}"));
        assert_eq!(wanted.within(size), found, "{text} of {size}");
    }
    for bad in ["", "5", "-", "a-b", "9-1", "1-2-3"] {
        assert!(Wanted::parse(bad).is_err(), "{bad}");
    }
}

fn hosts() -> Hosts {
    let entry = Entry { url: "http://h:1".into(), ..Entry::default() };
    let file = AliasFile { default: None, alias: [("play".to_owned(), entry)].into() };
    Hosts::of(file, &[("PANGEA_HOST_CI", "https://AK:S/+K:TOKEN@ci.test:9?region=eu&style=path")])
}

#[test]
fn names_are_told_apart() {
    let shown = |word: &str| match Name::parse(&hosts(), word) {
        Ok(Name::Stdio) => "stdio".to_owned(),
        Ok(Name::Local(path)) => format!("local {}", path.display()),
        Ok(Name::Remote(name)) => format!("remote {} [{}] [{}]", name.place.alias, name.bucket, name.key),
        Err(failure) => format!("error {}", failure.what),
    };
    for (word, meaning) in [
        ("-", "stdio"),
        ("play", "remote play [] []"),
        ("play/", "remote play [] []"),
        ("play/b", "remote play [b] []"),
        ("play/b/k//x/", "remote play [b] [k//x/]"),
        ("ci/b/k", "remote ci [b] [k]"),
        ("s3://b/k", "remote play [b] [k]"),
        ("./play/b", "local ./play/b"),
        ("/play/b", "local /play/b"),
        ("other/b", "local other/b"),
        ("play//k", "error `play//k` has no bucket"),
        ("", "error an empty name"),
        ("local/b", "error the alias `local` has no access key yet"),
    ] {
        assert_eq!(shown(word), meaning, "{word}");
    }
}

#[test]
fn an_endpoint_in_a_variable() {
    let entry = parse_url("https://AK:S/+K:TOKEN@ci.test:9?region=eu&style=path").expect("valid");
    assert_eq!((entry.url.as_str(), entry.access_key.as_deref()), ("https://ci.test:9", Some("AK")));
    assert_eq!((entry.secret_key.as_deref(), entry.session_token.as_deref()), (Some("S/+K"), Some("TOKEN")));
    assert_eq!((entry.region.as_deref(), entry.style.as_deref()), (Some("eu"), Some("path")));
    for bad in ["host", "http://AK@h", "http://AK:SK@h?other=1"] {
        assert!(parse_url(bad).is_err(), "{bad}");
    }
    let aws = [("AWS_ACCESS_KEY_ID", "AK"), ("AWS_SECRET_ACCESS_KEY", "SK"), ("AWS_REGION", "eu-west-1")];
    let hosts = Hosts::of(AliasFile::default(), &aws);
    let (entry, source) = hosts.entry("env").ok().flatten().expect("it is there");
    assert_eq!((entry.url.as_str(), source), ("https://s3.eu-west-1.amazonaws.com", "AWS_* variables"));
    assert_eq!(hosts.default_alias(), "env");
    assert_eq!(Hosts::of(AliasFile::default(), &[]).default_alias(), "local");
}

#[test]
fn aliases_are_kept_from_others() {
    let scratch = Scratch::new("aliases");
    let dir = scratch.0.to_str().expect("text");
    let hosts = Hosts::of(AliasFile::default(), &[("PANGEA_CONFIG_DIR", dir)]);
    let entry = Entry { url: "http://h".into(), secret_key: Some("hidden".into()), ..Entry::default() };
    let store = || hosts.change(|file| drop(file.alias.insert("a".into(), entry.clone())));
    let Ok(path) = store() else { panic!("it is stored") };
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    expect![[r#"
        [alias.a]
        url = "http://h"
        secret_key = "hidden"
    "#]]
    .assert_eq(&fs::read_to_string(&path).expect("text"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("mine");
    let Err(failure) = store() else { panic!("others may read it") };
    assert!(failure.what.contains("others may open it") && failure.advice.starts_with("chmod 600"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("mine");
    fs::write(&path, "[alias.a]\nurl = \"http://h\"\nsecret_key = hidden\n").expect("mine");
    let Err(failure) = store() else { panic!("it is broken") };
    assert!(failure.what.contains("line 3") && !failure.what.contains("hidden"), "{}", failure.what);
}

#[test]
fn keys_become_paths_or_errors() {
    let top = PathBuf::from("/top");
    for (key, path) in [("a", "/top/a"), ("a/b c/ü", "/top/a/b c/ü"), ("dir/", "/top/dir")] {
        assert_eq!(below(&top, key).unwrap_or_else(|_| panic!("{key}")), PathBuf::from(path));
    }
    for bad in ["../a", "a/../../b", "/etc/passwd", "a//b", "a/./b", "", "a\0b"] {
        assert!(below(&top, bad).is_err(), "{bad:?}");
    }
}

#[test]
fn lines_as_people_see_them() {
    let line = |name, kind, bytes| Line {
        name,
        kind,
        bytes,
        modified: Some(Moment::at(0).iso()),
        ..Line::default()
    };
    let version = Line { id: Some("v1"), latest: true, ..line("k", "object", Some(1536)) };
    let prefix = Line { name: "dir/", kind: "prefix", ..Line::default() };
    let marker = Line { id: Some("v2"), ..line("gone", "marker", None) };
    let odd = line("bell\u{7}\n", "object", Some(0));
    let lines = [line("b/", "bucket", None), prefix, line("k", "object", Some(5)), version, marker, odd];
    let text: String = lines.iter().map(Line::text).collect();
    expect![[r#"
        1970-01-01T00:00:00Z             b/
                                    PRE  dir/
        1970-01-01T00:00:00Z        5 B  k
        1970-01-01T00:00:00Z    1.5 KiB  k  v1 (latest)
        1970-01-01T00:00:00Z    DELETED  gone  v2
        1970-01-01T00:00:00Z        0 B  bell\u{7}\n
    "#]]
    .assert_eq(&text);
    expect![[r#"{"name":"k","kind":"object","bytes":1536,"modified":"1970-01-01T00:00:00Z","id":"v1","latest":true}"#]]
        .assert_eq(&serde_json::to_string(&lines[3]).expect("JSON"));
}

#[test]
fn deeds_and_summaries_as_people_see_them() {
    let deed = Deed {
        action: "upload",
        source: "a",
        target: Some("x/b/a"),
        version: None,
        bytes: Some(5),
        dry_run: false,
    };
    assert_eq!(deed.text(), "upload a -> x/b/a\n");
    let deed = Deed {
        action: "remove",
        source: "x/b/a",
        target: None,
        version: Some("v"),
        bytes: None,
        dry_run: true,
    };
    assert_eq!(deed.text(), "would remove x/b/a (version v)\n");
    expect![[r#"{"action":"remove","source":"x/b/a","version":"v","dry_run":true}"#]]
        .assert_eq(&serde_json::to_string(&deed).expect("JSON"));
    assert_eq!(summary(3, 3 << 20, 0, 1.5), "3 done, 3.0 MiB at 2.0 MiB/s");
    assert_eq!(summary(2, 0, 1, 0.0), "2 done, 1 FAILED");
}

#[test]
fn sums_go_down_to_the_depth_that_was_asked_for() {
    let mut sums = Sums::default();
    for (name, size) in [("a", 1), ("d/b", 1024), ("d/e/c", 2048)] {
        sums.add(name, size, 1);
    }
    let lines = sums.lines().map(|(prefix, bytes, count)| {
        let name = format!("x/{prefix}");
        Total { name: &name, bytes, count }.text()
    });
    let text: String = lines.collect();
    assert_eq!(text, "   3.0 KiB         2  x/d/\n   3.0 KiB         3  x/\n");
}

#[test]
fn what_is_known_of_an_object() {
    let head = Head {
        size: 30_000_000,
        etag: "e-4".into(),
        modified: Some(Moment::at(86_400)),
        version: Some("v".into()),
        attributes: Attributes {
            content_type: Some("text/plain".into()),
            headers: vec![("cache-control".into(), "no-store".into())],
            meta: vec![("mtime".into(), "1.5".into())],
            class: None,
        },
        proofs: vec![Proof { algorithm: Algorithm::Crc64Nvme, value: "rosUhgp5mIg=".into() }],
        is_sealed: false,
    };
    let known = stat::of_object("x/b/k".into(), head);
    expect![[r#"
        x/b/k
          kind          object
          size          28.6 MiB (30000000 bytes)
          modified      1970-01-02T00:00:00Z
          etag          e-4
          version       v
          type          text/plain
          cache-control  no-store
          crc64nvme     rosUhgp5mIg=
          metadata      mtime=1.5
    "#]]
    .assert_eq(&known.text());
}

#[test]
fn errors_say_what_to_do_next() {
    let refused = |status, code: &str| S3Error::Refused {
        status,
        code: code.into(),
        message: "Words.".into(),
        request_id: "ID".into(),
        region: None,
    };
    let endpoint = || "http://h:1".to_owned();
    let errors = [
        refused(404, "NoSuchBucket"),
        refused(404, "NoSuchKey"),
        refused(403, "AccessDenied"),
        refused(403, "SignatureDoesNotMatch"),
        refused(412, "PreconditionFailed"),
        refused(500, "InternalError"),
        refused(501, "NotImplemented"),
        S3Error::Unreachable { endpoint: endpoint(), why: "Connection refused".into() },
        S3Error::Tls { endpoint: endpoint(), why: "invalid peer certificate: UnknownIssuer".into() },
        S3Error::Corrupt { check: "md5".into(), wanted: "a".into(), got: "b".into() },
    ];
    let shown = |error: &S3Error| {
        let failure = advice::of(error, "x", "x/b/k");
        format!("{} [{}]\n", failure.shown(false), failure.code)
    };
    expect![[r#"
        error: x/b/k: NoSuchBucket (404): Words. [request ID]
          help: make it with `pangea mb x/b`; `pangea ls x` shows those there are [1]
        error: x/b/k: NoSuchKey (404): Words. [request ID]
          help: `pangea ls -r x/b` shows what is there; --versions shows what was [1]
        error: x/b/k: AccessDenied (403): Words. [request ID]
          help: the access key of `x` may not do this to x/b/k [8]
        error: x/b/k: SignatureDoesNotMatch (403): Words. [request ID]
          help: the access key or secret of `x` is wrong: `pangea alias set x URL ACCESS_KEY` [8]
        error: x/b/k: PreconditionFailed (412): Words. [request ID]
          help: it is there already, or was changed meanwhile; nothing was overwritten [1]
        error: x/b/k: InternalError (500): Words. [request ID]
          help: the endpoint has trouble: look at its log, and run the same command again [1]
        error: x/b/k: NotImplemented (501): Words. [request ID]
          help: this endpoint cannot do it [1]
        error: x/b/k: http://h:1 cannot be reached: Connection refused
          help: is it running, and is the address of `x` right? `pangea alias list` shows it [7]
        error: x/b/k: http://h:1: TLS: invalid peer certificate: UnknownIssuer
          help: name the CA or the certificate that you trust: --ca FILE (or --insecure, if nobody sits between) [7]
        error: x/b/k: the bytes are not those that were stored: md5 is b, not a
          help: copy it again; if it stays so, the stored object is damaged [1]
    "#]]
    .assert_eq(&errors.iter().map(shown).collect::<String>());
    let json = advice::of(&errors[0], "x", "x/b/k").shown(true);
    assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok_and(|value| value["code"] == 1), "{json}");
}

#[tokio::test]
async fn files_come_in_the_order_of_keys() {
    let scratch = Scratch::new("walk");
    for name in ["a/b", "a-b", "a.b", "a0", "a/c/d", "z.pangea-part", "z.pangea-part.state"] {
        let path = scratch.0.join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
        fs::write(path, name).expect("a file");
    }
    std::os::unix::fs::symlink("..", scratch.0.join("a/loop")).expect("a link");
    let mut entries = walk::files(&scratch.0);
    let (mut names, mut problems) = (Vec::new(), 0);
    while let Some(entry) = entries.recv().await {
        match entry {
            Ok(entry) => {
                assert!(
                    matches!(&entry.at, At::File(path) if path.exists())
                        && entry.size == entry.rel.len() as u64
                );
                names.push(entry.rel);
            }
            Err(_) => problems += 1,
        }
    }
    assert!(problems > 0, "the loop is told");
    names.retain(|name| !name.contains("loop"));
    assert_eq!(names, ["a-b", "a.b", "a/b", "a/c/d", "a0"]);
}

#[test]
fn what_was_begun_is_remembered_by_one_at_a_time() {
    let scratch = Scratch::new("resume");
    let state =
        UploadState { upload: "u".into(), size: 5, modified: "1.5".into(), part_bytes: 5, checked: true };
    let note = UploadNote::open(&scratch.0, "identity").expect("mine");
    assert_eq!(note.read(), None);
    note.write(&state).expect("written");
    assert!(UploadNote::open(&scratch.0, "identity").is_none(), "it is locked");
    drop(note);
    let note = UploadNote::open(&scratch.0, "identity").expect("mine again");
    assert_eq!(note.read(), Some(state));
    note.remove();
    assert_eq!(UploadNote::open(&scratch.0, "identity").expect("mine").read(), None);

    let path = scratch.0.join("x.pangea-part.state");
    let state = DownloadState { etag: "e".into(), version: None, size: 10, part_bytes: 5 };
    let (note, there) = DownloadNote::open(&path, &state).expect("written");
    assert!(there.is_empty());
    note.add(2).expect("written");
    fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"1"))
        .expect("torn");
    assert_eq!(DownloadNote::open(&path, &state).expect("read").1, [2], "a torn line is no part");
    let other = DownloadState { etag: "f".into(), ..state };
    assert!(DownloadNote::open(&path, &other).expect("begun anew").1.is_empty());
}

#[test]
fn the_manual_and_the_completions_know_the_verbs() {
    let Ok(page) = crate::shell::page() else { panic!("a page") };
    let page = String::from_utf8(page).expect("text");
    let mut script = Vec::new();
    clap_complete::generate(clap_complete::Shell::Bash, &mut Args::command(), "pangea", &mut script);
    let script = String::from_utf8(script).expect("text");
    for verb in ["mb", "rb", "ls", "cp", "mv", "rm", "cat", "stat", "sync", "du", "find", "alias"] {
        assert!(page.contains(&format!("pangea\\-{verb}")) && script.contains(verb), "{verb}");
    }
}

#[test]
fn every_verb_takes_json() {
    let common = |verb: &str| {
        let command = Args::command();
        let verb =
            command.get_subcommands().find(|command| command.get_name() == verb).expect("a verb").clone();
        verb.get_arguments().any(|argument| argument.get_id() == "json")
    };
    for verb in ["mb", "rb", "ls", "cp", "mv", "rm", "cat", "stat", "sync", "du", "find"] {
        assert!(common(verb), "{verb}");
    }
    assert!(!Common::default().json);
}
