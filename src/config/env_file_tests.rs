use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Vec<(String, String)> {
    let variables = parse_env(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    variables.into_iter().map(|(name, value)| (name, value.expose().to_owned())).collect()
}

/// What `python-dotenv` 1.2.4 answers for the same lines.
#[test]
fn values_are_those_of_python_dotenv() {
    for (text, value) in [
        ("A=b", "b"),
        ("A=", ""),
        ("A=   ", ""),
        ("A = b ", "b"),
        ("  export A=b", "b"),
        ("A=false  # note", "false"),
        ("A=b\t# note", "b"),
        ("A=a#b", "a#b"),
        ("A=a b#c d # e # f", "a b#c d"),
        ("A=#b", "#b"),
        ("A=#b # note", "#b"),
        ("A= # note", ""),
        ("A=\"a # b\" # note", "a # b"),
        ("A='a # b'#note", "a # b"),
        ("A=postgres://u:p@h/d?x=y&z=1", "postgres://u:p@h/d?x=y&z=1"),
        ("A=pa$$word$HOME", "pa$$word$HOME"),
        ("A='pa$word'", "pa$word"),
        ("A=\"one\ntwo\"", "one\ntwo"),
        ("A=\"one\r\ntwo\"\r\n", "one\r\ntwo"),
        (r#"A="a\nb\t\"c\"\\d\q""#, "a\nb\t\"c\"\\d\\q"),
        (r#"A="ends with \\""#, "ends with \\"),
        (r"A='a\nb\'c\\d'", r"a\nb'c\d"),
        (r"A=a\nb", r"a\nb"),
        ("A=it's", "it's"),
        ("'A'=b", "b"),
        ("A=b\rB=c", "b"),
        ("\u{feff}A=b", "b"),
        ("A=1\nA=2", "2"),
        ("A=\u{e9}t\u{e9} \u{4e2d}\u{6587}", "\u{e9}t\u{e9} \u{4e2d}\u{6587}"),
        ("A=${B:-x y}", "x y"),
        ("A=${B", "${B"),
        ("A=a ${B:?x} b", "a ${B:?x} b"),
    ] {
        let first = read(text).into_iter().next();
        assert_eq!(first, Some(("A".to_owned(), value.to_owned())), "{text:?}");
    }
}

#[test]
fn earlier_lines_may_be_referred_to() {
    let text = "HOST=db\nURL=\"pg://${HOST}:${PORT:-5432}/x\"\nCOPY='${URL}?${HOST:-y}'\n";
    let values: Vec<_> = read(text).into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["pg://db:5432/x?db", "db", "pg://db:5432/x"]);
}

#[test]
fn comments_and_blank_lines_are_nothing() {
    assert!(read("").is_empty());
    assert!(read("\n  \r\n# a=b\n   # c\n").is_empty());
    assert_eq!(read("# first\n\nA=1\n#last").len(), 1);
    for name in ["exported", "export"] {
        assert_eq!(read(&format!("{name}=1")), [(name.to_owned(), "1".to_owned())]);
    }
}

#[test]
fn mistakes_name_the_line_and_no_value() {
    for (text, line, what) in [
        ("A=1\n\nhunter2\n", 3, "what stands here has no `=`"),
        ("A=1\nKEY\n", 2, "`KEY` has no `=`"),
        ("A=\"x\ny\"\n=hunter2", 3, "no name before"),
        ("A='hunter2\nB=1\n", 1, "never closed"),
        ("A=1\r\nB=\"a\"hunter2", 2, "follows the closing quote"),
        ("A=hunter2${HOME}", 1, "refers to `HOME`, which is not set above"),
        ("A=${hunter2}", 1, "refers to a `${...}`, which"),
        ("A=hunter2\0", 1, "zero byte"),
        ("'A=hunter2", 1, "quote around the name"),
    ] {
        let error = parse_env(text).unwrap_err();
        assert!(error.what.contains(what), "{text:?}: {error}");
        assert_eq!(error.line, line, "{text:?}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn files_are_named_in_errors() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".env");
    let told = || load_env_file(&path).unwrap_err().to_string();
    assert!(told().contains("cannot be read"));
    assert!(
        load_env_file(directory.path()).unwrap_err().to_string().contains("not a regular file")
    );
    std::fs::write(&path, b"A=\xff").unwrap();
    assert!(told().contains("not UTF-8"));
    std::fs::write(&path, "A=1\nB").unwrap();
    assert_eq!(
        told(),
        format!("env file {}, line 2: `B` has no `=` after it; write NAME=value", path.display())
    );
    std::fs::write(&path, "A=1\n").unwrap();
    assert!(!format!("{:?}", load_env_file(&path).unwrap()).contains('1'));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(?s).{0,60}") {
        let _ = parse_env(&text);
    }

    #[test]
    fn no_punctuation_makes_it_panic(text in "[A-B=\"'\\\\#$\\{\\}:\\- \n\rx\u{e9}]{0,60}") {
        let _ = parse_env(&text);
    }

    #[test]
    fn quoted_values_read_back_as_they_were(value in "[^\0]{0,40}", double: bool) {
        prop_assume!(!value.contains("${"));
        let quote = if double { '"' } else { '\'' };
        let escaped = value.replace('\\', "\\\\").replace(quote, &format!("\\{quote}"));
        let read = read(&format!("A={quote}{escaped}{quote} # note\nB=1"));
        prop_assert_eq!(read, [("A".to_owned(), value), ("B".to_owned(), "1".to_owned())]);
    }
}
