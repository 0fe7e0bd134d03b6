//! What the command line and the environment come to.

use super::*;

fn read(line: &str, env: &[(&str, &str)]) -> Cli {
    let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
    Cli::read(&arguments, |name| env.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).into())).unwrap()
}

fn reports(cli: Cli) -> Vec<PathBuf> {
    let Command::Apply(args) = cli.command else { panic!("another command") };
    args.output.reports.into_iter().map(|report| report.path).collect()
}

#[test]
fn a_plan_takes_its_comment_of_the_list_and_leaves_the_rest_to_runs() {
    let env = [("DIDIT_SYNC_REPORT", "json=a.json,markdown=b.md")];
    let Command::Plan(args) = read("didit-sync plan m.yaml", &env).command else { panic!("another command") };
    assert_eq!(args.reports, [ReportTarget { kind: Kind::Markdown, path: "b.md".into() }]);
}

#[test]
fn lists_are_split_in_the_environment_alone() {
    let env = [
        ("DIDIT_SYNC_ROOT", "/a:/b"),
        ("DIDIT_SYNC_ALLOW_HOST", "a.example,b.example:8443"),
        ("DIDIT_SYNC_REPORT", "json=a.json,json=b.json"),
    ];
    let cli = read("didit-sync apply m.yaml", &env);
    assert_eq!(cli.global.roots, [PathBuf::from("/a"), "/b".into()]);
    assert_eq!(cli.global.allow_hosts, ["a.example", "b.example:8443"]);
    assert_eq!(reports(cli), [PathBuf::from("a.json"), "b.json".into()]);

    let line = "didit-sync --root a:b apply m.yaml --report json=a,b.json --report json=c --allow-host x,y";
    for env in [&env[..], &[]] {
        let cli = read(line, env);
        assert_eq!(cli.global.roots, [PathBuf::from("a:b")]);
        assert_eq!(cli.global.allow_hosts, ["x,y"]);
        assert_eq!(reports(cli), [PathBuf::from("a,b.json"), "c".into()]);
    }
    assert_eq!(read("didit-sync plan m.yaml --root a:b", &env).global.roots, [PathBuf::from("a:b")]);
    let cli = read("didit-sync apply m.yaml", &[("DIDIT_SYNC_ROOT", "")]);
    assert!(cli.global.roots.is_empty() && reports(cli).is_empty());
}

#[test]
fn the_files_of_the_environment_are_the_last_runs() {
    let env = [("DIDIT_SYNC_REPORT", "json=a.json")];
    let of = |line: &str| {
        let Command::Report(args) = read(line, &env).command else { panic!("another command") };
        args.output.reports.into_iter().map(|report| report.path).collect::<Vec<_>>()
    };
    assert_eq!(of("didit-sync report"), [PathBuf::from("a.json")]);
    for line in ["report 1", "report --list", "report --since 2026-01-01", "report --until 2026-01-01"] {
        assert!(of(&format!("didit-sync {line}")).is_empty(), "{line}");
        let given = of(&format!("didit-sync {line} --report csv=b.csv"));
        assert_eq!(given, [PathBuf::from("b.csv")], "{line}");
    }
}

#[test]
fn a_wrong_list_in_the_environment_is_a_wrong_flag() {
    let arguments = ["didit-sync", "audit"].map(OsString::from);
    let wrong = Cli::read(&arguments, |name| (name == "DIDIT_SYNC_REPORT").then(|| "json=a,nonsense=b".into()));
    assert!(wrong.unwrap_err().to_string().contains("nonsense=b"));
}
