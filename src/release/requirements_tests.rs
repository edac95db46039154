use super::*;

fn wanted(installer: Installer, file: Option<&str>) -> Python {
    Python { version: None, interpreter: None, requirements: file.map(Into::into), installer }
}

fn told(wanted: &Python, present: Present, uv: Uv) -> String {
    match recipe(wanted, present, uv) {
        Ok(Recipe::Nothing) => "nothing".to_owned(),
        Ok(recipe) => {
            let how = if matches!(recipe, Recipe::Sync(_)) { "sync" } else { recipe.installer() };
            format!("{how} {}", recipe.file().unwrap().display())
        }
        Err(BuildError::NeedsUv(file)) => format!("{file} needs uv"),
        Err(other) => panic!("{other}"),
    }
}

/// Every combination of what is there, against the rules in words.
#[test]
fn who_installs_what() {
    for bits in 0..16_u8 {
        let present =
            Present { uv_lock: bits & 1 != 0, pylock: bits & 2 != 0, requirements: bits & 4 != 0 };
        let uv = if bits & 8 == 0 { Uv::Missing } else { Uv::Here };
        let has_uv = uv == Uv::Here;
        for installer in [Installer::Auto, Installer::Uv, Installer::Pip] {
            let got = told(&wanted(installer, None), present, uv);
            let by_uv = installer == Installer::Uv || (installer == Installer::Auto && has_uv);
            let expected = match (present.uv_lock, present.pylock, present.requirements) {
                (false, false, false) => "nothing",
                (true, _, _) if by_uv && has_uv => "sync uv.lock",
                (true, _, _) if by_uv => "uv.lock needs uv",
                (_, true, _) if by_uv && has_uv => "uv pylock.toml",
                (_, true, _) if by_uv => "pylock.toml needs uv",
                (_, _, true) if by_uv && has_uv => "uv requirements.txt",
                (_, _, true) if by_uv => "requirements.txt needs uv",
                (_, _, true) => "pip requirements.txt",
                (_, true, false) => "pylock.toml needs uv",
                (true, false, false) => "uv.lock needs uv",
            };
            assert_eq!(got, expected, "{installer:?} {present:?} {uv:?}");
        }
    }
    let none = Present { uv_lock: true, pylock: false, requirements: true };
    let file = |file| told(&wanted(Installer::Auto, Some(file)), none, Uv::Missing);
    assert_eq!(file("deploy/prod.txt"), "pip deploy/prod.txt");
    assert_eq!(file("backend/uv.lock"), "backend/uv.lock needs uv");
    assert_eq!(file("pylock.prod.toml"), "pylock.prod.toml needs uv");
}

fn read(files: &[(&str, &str)]) -> Result<Bundle, String> {
    let found = |path: &Path| {
        let file = files.iter().find(|(name, _)| Path::new(name) == path);
        Ok(file.map(|(_, text)| text.as_bytes().to_vec()))
    };
    bundle(Path::new("requirements.txt"), &found).map_err(|e| e.to_string())
}

#[test]
fn all_that_is_included_belongs_to_it() {
    let bundle = read(&[
        ("requirements.txt", "# all\n-r requirements/base.txt\nuvicorn == 0.30.1 ; python_version > '3'\n"),
        ("requirements/base.txt", "-c ../constraints.txt\n--requirement=more.txt\nFast_API[all]==0.115.0 \\\n  --hash=sha256:1\n"),
        ("constraints.txt", "-r requirements.txt\nx==1.*\n"),
        ("requirements/more.txt", "./wheels/own-1-py3-none-any.whl\ngit+https://h/x@v1\nhttps://h/y.whl\n"),
        ("wheels/own-1-py3-none-any.whl", "PK"),
    ])
    .unwrap();
    let mut names: Vec<_> = bundle.files.keys().map(|path| path.to_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "constraints.txt",
            "requirements.txt",
            "requirements/base.txt",
            "requirements/more.txt",
            "wheels/own-1-py3-none-any.whl"
        ]
    );
    let pins: Vec<_> = bundle.pins.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(pins, [("fast-api", "0.115.0"), ("uvicorn", "0.30.1")]);
    assert!(bundle.any);
    assert!(!read(&[("requirements.txt", "\n# nothing\n--index-url https://h\n")]).unwrap().any);
}

#[test]
fn what_belongs_to_one_release_alone_is_not_installed() {
    for line in [
        "-e .",
        "-e.",
        "--editable=.",
        ".",
        "./lib",
        "..",
        "/srv/lib",
        "file:///srv/lib",
        "shop @ file:///srv/shop",
    ] {
        let why = read(&[("requirements.txt", line)]).unwrap_err();
        assert!(why.starts_with("requirements.txt, line 1: installs a directory"), "{line}: {why}");
    }
    for (line, told) in [
        ("-r gone.txt", "gone.txt: is not in the code, and requirements.txt includes it"),
        ("-r ../x.txt", "requirements.txt, line 1: includes a file that is not in the code"),
        ("-c /etc/x.txt", "requirements.txt, line 1: includes a file that is not in the code"),
        ("./gone.whl", "requirements.txt, line 1: installs a file that is not there"),
    ] {
        let why = read(&[("requirements.txt", line)]).unwrap_err();
        assert!(why.starts_with(told), "{why}");
    }
    assert!(read(&[]).unwrap_err().contains("correct `python.requirements`"));
    let fine = "-e git+https://h/x@v1#egg=x\nflask\nflask>=1\na.b-c_d==1.0\n";
    assert!(read(&[("requirements.txt", fine)]).unwrap().any);
}

#[test]
fn a_lock_and_what_is_pinned_beside_it_must_say_the_same() {
    let lock = "version = 1\n[[package]]\nname = \"fast_api\"\nversion = \"0.115.0\"\n\
                [[package]]\nname = \"shop\"\nsource = { virtual = \".\" }\n";
    let lock = locked(lock).unwrap();
    let pins = |name: &str, version: &str| BTreeMap::from([(name.to_owned(), version.to_owned())]);
    assert_eq!(differs(&pins("fast-api", "0.115.0"), &lock), None);
    assert_eq!(differs(&pins("unknown", "1"), &lock), None);
    let told = differs(&pins("fast-api", "0.114.0"), &lock).unwrap();
    assert_eq!(told, "fast-api is 0.114.0 there and 0.115.0 in the lock");
    assert_eq!(locked("not a lock"), None);
}
