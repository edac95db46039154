//! The one table of routes. Dispatch, the answers 404 and 405, and the `OpenAPI` document all come
//! from it.

mod table;

use hyper::Method;
use matchit::Router;
use schemars::{Schema, SchemaGenerator};

pub(super) use self::table::TABLE;
use super::{
    deploys,
    operations::{AtBoot, Decision, Verb, Way},
};
use crate::config::Access;

/// What a route asks of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// Changes nothing, and ends when the client goes away.
    Read(Read),
    /// Goes on when the client goes away.
    Change(Change),
    /// Takes a body of any length, and goes on when the client goes away once that is whole.
    Receive(Receive),
}

/// What can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    Version,
    Status,
    Explain,
    Rollouts,
    Rollout,
    Wait,
    Events,
    Logs,
    Runs,
    RunEnd,
    Nginx,
    NginxSnippet,
    Plan,
    PlanTogether,
    Apps,
    Backups,
    Deploys(deploys::Read),
    OpenApi,
}

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Act(Verb),
    Roll(Way),
    RollTogether,
    Cancel,
    Decide(Decision),
    ResetFailed,
    ReloadInstance,
    Enable(AtBoot),
    Run,
    StopRun,
    NginxTest,
    Reload,
    Reexec,
    Dumps(Dumps),
    Deploys(deploys::Change),
}

/// What can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receive {
    /// An archive to be deployed.
    Archive,
}

/// What can be done with dumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dumps {
    Make,
    Verify,
    Restore,
    Prune,
    Cancel,
}

/// Gives the schema of a type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// How a route answers when all is well.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answers {
    /// 200 and a JSON document.
    Json(SchemaOf),
    /// 202, the rollout, and where it is found (`Location`).
    Accepted,
    /// 200 and one JSON document per line.
    Lines(SchemaOf),
    /// 200 and server-sent events.
    Sent(SchemaOf),
    /// 200 and the `OpenAPI` document.
    Document,
}

/// One route.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: Method,
    /// In the form that both `matchit` and `OpenAPI` use: `/v1/rollouts/{id}`.
    pub(super) path: &'static str,
    /// The least level of access.
    pub(super) needs: Access,
    pub(super) call: Call,
    pub(super) summary: &'static str,
    pub(super) query: Option<SchemaOf>,
    pub(super) body: Option<SchemaOf>,
    pub(super) answers: Answers,
}

/// The table, ready to be looked up in.
#[derive(Debug)]
pub(super) struct Routes(Router<Vec<&'static Route>>);

/// What a method and a path lead to.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// A route, and what stands in its path in place of the name in braces.
    Route(&'static Route, Option<&'a str>),
    /// The path exists for these methods only.
    OtherMethods(String),
    /// No such path.
    Nothing,
}

impl Routes {
    pub(super) fn new() -> Self {
        let mut router = Router::new();
        for path in distinct_paths() {
            let of_path = TABLE.iter().filter(|route| route.path == path).collect();
            // A test looks up every route, so a conflict in the table is found there.
            if let Err(e) = router.insert(path, of_path) {
                tracing::error!("the route {path} cannot be reached: {e}");
            }
        }
        Self(router)
    }

    pub(super) fn find<'a>(&self, method: &Method, path: &'a str) -> Found<'a> {
        let Ok(matched) = self.0.at(path) else { return Found::Nothing };
        let mut params = matched.params.iter();
        match matched.value.iter().find(|route| route.method == *method) {
            Some(route) => Found::Route(route, params.next().map(|(_, value)| value)),
            None => Found::OtherMethods(
                matched.value.iter().map(|r| r.method.as_str()).collect::<Vec<_>>().join(", "),
            ),
        }
    }
}

/// Each path once, in the order of the table.
pub(super) fn distinct_paths() -> Vec<&'static str> {
    let mut paths: Vec<&str> = Vec::new();
    for route in &TABLE {
        if !paths.contains(&route.path) {
            paths.push(route.path);
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_found_and_takes_one_name_at_most() {
        let routes = Routes::new();
        for route in &TABLE {
            let path = route.path.replace(['{', '}'], "");
            let Found::Route(found, name) = routes.find(&route.method, &path) else {
                panic!("{} {path} is not found", route.method);
            };
            assert_eq!((found.path, found.call), (route.path, route.call));
            assert_eq!(name.is_some(), route.path.contains('{'));
            assert!(route.path.matches('{').count() <= 1);
        }
    }

    #[test]
    fn reads_are_gets_and_changes_are_posts() {
        for route in &TABLE {
            let expected = if route.needs == Access::Read { Method::GET } else { Method::POST };
            assert_eq!(route.method, expected, "{}", route.path);
        }
    }

    #[test]
    fn other_paths_and_methods_are_told_apart() {
        let routes = Routes::new();
        for path in ["/", "/v1", "/v1/", "/v2/status", "/v1/status/", "/v1/instances//stop"] {
            assert!(matches!(routes.find(&Method::GET, path), Found::Nothing), "{path}");
        }
        let Found::OtherMethods(allow) = routes.find(&Method::DELETE, "/v1/rollouts/7") else {
            panic!("not told apart");
        };
        assert_eq!(allow, "GET");
    }
}
