use super::*;
use crate::nginx::flip::tests::of as site;

fn own() -> &'static Path {
    Path::new("/etc/nginx/conf.d/aibk.conf")
}

fn name() -> ServiceName {
    "api".parse().unwrap()
}

/// A whole configuration with `server` in a server, as nginx prints it.
fn dump(server: &str) -> String {
    format!(
        "# configuration file /etc/nginx/nginx.conf:\nhttp {{\n  include conf.d/*.conf; # ours\n}}\n\
         # configuration file /etc/nginx/conf.d/aibk.conf:\n{}\n\
         # configuration file /etc/nginx/sites-enabled/default:\nserver {{\n{server}\n}}\n",
        "if (-f /flags/aibk-api.green) { set $aibk_proof_1 ''; } proxy_pass http://api_backend;"
    )
}

fn lacking(server: &str, site: &Site) -> Vec<Lacking> {
    lacks(&dump(server), own(), site, Some(Path::new("/l")))
        .into_iter()
        .map(|lack| lack.what)
        .collect()
}

#[test]
fn the_lines_are_found_as_they_are_printed_and_in_other_forms() {
    for switch in ["reload", "flip"] {
        let site = site(switch);
        let snippet = Snippet::of(&name(), &site[&name()], None);
        let lines = [snippet.server, snippet.location].concat().join("\n");
        insta::assert_snapshot!(switch, lines);
        assert_eq!(lacking(&lines, &site), [], "{lines}");
    }
    let other = "set $aibk_api 'blue';\n  if ( -f \"/flags/aibk-api.green\" ) {\n    set $aibk_api \
                 green; }\nlocation / { proxy_pass http://api_backend_${aibk_api}/; }";
    assert_eq!(lacking(other, &site("flip")), []);
}

#[test]
fn what_is_not_there_is_told() {
    let flip = site("flip");
    assert_eq!(lacking("", &flip), [Lacking::Choice, Lacking::Pass]);
    assert_eq!(lacking("# if (-f /flags/aibk-api.green)", &flip)[0], Lacking::Choice);
    assert_eq!(lacking("", &site("reload")), [Lacking::Pass]);
    let snippet = Snippet::of(&name(), &flip[&name()], None);
    let lines = [snippet.server, snippet.location].concat().join("\n");
    assert_eq!(lacking(&lines, &site("reload")), [Lacking::Colour, Lacking::Pass]);
    let remembers = format!("{lines}\nopen_file_cache max=100;");
    assert_eq!(lacking(&remembers, &flip), [], "it is off where it matters");
    let remembers = remembers.replace("open_file_cache off;", "");
    assert_eq!(lacking(&remembers, &flip), [Lacking::FreshLook]);
    let logs = format!("access_log /var/log/api.log;\n{lines}");
    assert_eq!(lacking(&logs, &flip), [Lacking::Log]);
}
