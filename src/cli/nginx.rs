//! `nginx show` and `nginx test`.

use clap::Subcommand;

use super::{
    Ended,
    daemon::Daemon,
    exit::Exit,
    layout::{harmless, indented},
    look,
    look::Look,
    screen::Screen,
    status,
};
use crate::api::types::{NginxFile, NginxTest};

/// What to look at.
#[derive(Debug, Subcommand)]
pub(super) enum NginxVerb {
    /// Show the file that aibk publishes, and what nginx serves by its own answer
    Show,
    /// Let nginx test its configuration (`nginx -t`)
    Test,
}

pub(super) async fn run(verb: &NginxVerb, daemon: &Daemon, screen: Screen) -> Ended {
    match verb {
        NginxVerb::Show => {
            let file = daemon.nginx().await?;
            screen.show(&file, |look| file_text(&file, look))?;
            Ok(Exit::Done)
        }
        NginxVerb::Test => {
            let test = daemon.nginx_test().await?;
            screen.show(&test, |look| test_text(&test, look))?;
            Ok(if test.ok { Exit::Done } else { Exit::Failed })
        }
    }
}

fn file_text(file: &NginxFile, look: Look) -> String {
    let NginxFile { path, text, status } = file;
    let state = status::nginx_line(status, look);
    let path = harmless(path);
    match text {
        Some(text) => format!("{state}file   {path}\n\n{}\n", harmless(text).trim_end()),
        None => format!("{state}file   {path} does not exist yet\n"),
    }
}

fn test_text(test: &NginxTest, look: Look) -> String {
    let verdict = if test.ok {
        look.paint(look::GOOD, "nginx accepts its configuration")
    } else {
        look.paint(look::BAD, "nginx refuses its configuration")
    };
    let words = indented(&test.output);
    format!("{verdict}\n{words}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn the_file_is_shown_under_what_is_served() {
        let status = samples::all_fine().nginx.unwrap();
        let mut file = NginxFile {
            path: "/etc/nginx/conf.d/aibk.conf".into(),
            text: Some("upstream api {\n    server 127.0.0.1:8000;\n}\n".into()),
            status,
        };
        insta::assert_snapshot!(file_text(&file, Look::PAGE));
        file.text = None;
        assert!(file_text(&file, Look::PAGE).ends_with("aibk.conf does not exist yet\n"));
    }

    #[test]
    fn a_refusal_is_told_in_the_words_of_nginx() {
        let output = "nginx: [emerg] unknown directive \"sever\" in /etc/nginx/conf.d/a.conf:2\n";
        let test = NginxTest { ok: false, output: output.into() };
        insta::assert_snapshot!(test_text(&test, Look::PAGE));
    }
}
