//! Every route, without a socket: access, names, queries, bodies, problems.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use serde_json::Value;

use super::fake::{Fake, MISSING, PANICS};
use crate::{
    api::{
        Limits,
        access::{Peer, Policy},
        answer::Reply,
        operations::Caller,
        route::{Answers, TABLE},
        server::{Shared, handle},
    },
    config::Access,
};

struct Room {
    ops: Arc<Fake>,
    shared: Arc<Shared>,
}

impl Room {
    fn new() -> Self {
        let ops = Arc::new(Fake::default());
        let policy = Policy::new(BTreeMap::new());
        let shared = Shared::new(Arc::clone(&ops) as _, policy, Limits::default());
        Self { ops, shared: Arc::new(shared) }
    }

    async fn reply(&self, peer: Peer, method: Method, target: &str, body: &str) -> Reply {
        let body = Full::new(Bytes::from(body.to_owned()));
        let request = Request::builder().method(method).uri(target).body(body).unwrap();
        handle(&self.shared, peer, request).await
    }

    /// As root: the status and the document.
    async fn ask(&self, method: Method, target: &str, body: &str) -> (u16, Value) {
        let reply = self.reply(known(Access::Admin), method, target, body).await;
        let status = reply.status().as_u16();
        (status, document(reply).await)
    }

    async fn get(&self, target: &str) -> (u16, Value) {
        self.ask(Method::GET, target, "").await
    }

    async fn post(&self, target: &str, body: &str) -> (u16, Value) {
        self.ask(Method::POST, target, body).await
    }
}

fn known(access: Access) -> Peer {
    Peer::Known(Caller { uid: 1, pid: 1, access })
}

async fn text(reply: Reply) -> String {
    String::from_utf8(reply.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn document(reply: Reply) -> Value {
    serde_json::from_str(&text(reply).await).unwrap()
}

#[tokio::test]
async fn each_level_reaches_its_routes_and_no_others() {
    let room = Room::new();
    let levels = [Access::Read, Access::Operate, Access::Deploy, Access::Admin];
    for route in &TABLE {
        let path = route
            .path
            .replace("{id}", "7")
            .replace("{instance}", "api@8000")
            .replace("{service}", "api")
            .replace("{job}", "backup")
            .replace("{app}", "ledger")
            .replace("{run}", "3");
        for access in levels {
            let reply = room.reply(known(access), route.method.clone(), &path, "").await;
            let expected = match route.answers {
                _ if access < route.needs => StatusCode::FORBIDDEN,
                Answers::Accepted => StatusCode::ACCEPTED,
                _ => StatusCode::OK,
            };
            assert_eq!(reply.status(), expected, "{} {path} as {access:?}", route.method);
        }
        let stranger = Peer::Stranger { uid: 9 };
        let reply = room.reply(stranger, route.method.clone(), &path, "").await;
        assert_eq!(reply.status(), StatusCode::FORBIDDEN, "{path}");
        assert_eq!(document(reply).await["code"], "forbidden");
    }
    // Nobody who may not has changed anything.
    let acts = room.ops.heard().iter().filter(|asked| asked.starts_with("Start")).count();
    assert_eq!(acts, 3);
}

#[tokio::test]
async fn a_stranger_learns_not_even_which_paths_there_are() {
    let room = Room::new();
    let reply = room.reply(Peer::Stranger { uid: 9 }, Method::GET, "/nothing", "").await;
    assert_eq!(reply.status(), StatusCode::FORBIDDEN);
    assert_eq!(reply.headers()["connection"], "close");
}

#[tokio::test]
async fn naming_a_release_needs_deploy() {
    let room = Room::new();
    for path in ["/v1/services/api/rolling", "/v1/services/api/swap"] {
        let body = r#"{"release":"/srv/r2"}"#;
        let reply = room.reply(known(Access::Operate), Method::POST, path, body).await;
        assert_eq!(reply.status(), StatusCode::FORBIDDEN);
        let said = document(reply).await;
        assert_eq!(said["message"], "uid 1 has the access level `operate`; this needs `deploy`");
        assert!(room.ops.heard().is_empty());
    }
    let (path, body) = ("/v1/services/api/swap", r#"{"release":"/srv/r2"}"#);
    let reply = room.reply(known(Access::Deploy), Method::POST, path, body).await;
    assert_eq!(reply.status(), StatusCode::ACCEPTED);
    assert_eq!(room.ops.heard(), ["Swap api release=Some(\"/srv/r2\")"]);
}

#[tokio::test]
async fn a_swap_that_is_held_is_decided_and_nothing_else_is_held() {
    let room = Room::new();
    for (path, body, status) in [
        ("/v1/services/api/promote", "", StatusCode::ACCEPTED),
        ("/v1/services/api/abort", "", StatusCode::ACCEPTED),
        ("/v1/services/api/rolling", r#"{"hold":true}"#, StatusCode::BAD_REQUEST),
    ] {
        let reply = room.reply(known(Access::Operate), Method::POST, path, body).await;
        assert_eq!(reply.status(), status, "{path}");
    }
    assert_eq!(room.ops.heard(), ["Promote api by 1", "Abort api by 1"]);
}

#[tokio::test]
async fn a_long_operation_says_where_its_rollout_is() {
    let room = Room::new();
    let path = "/v1/instances/api%408000/restart";
    let reply = room.reply(known(Access::Operate), Method::POST, path, r#"{"force":true}"#).await;
    assert_eq!(reply.status(), StatusCode::ACCEPTED);
    assert_eq!(reply.headers()["location"], "/v1/rollouts/7");
    assert_eq!(document(reply).await["id"], 7);
    assert_eq!(room.ops.heard(), ["Restart api@8000 force=true by 1"]);
}

#[tokio::test]
async fn what_is_not_understood_is_a_problem_with_a_hint() {
    let room = Room::new();
    let asked = [
        (404, Method::GET, "/v1/nothing", ""),
        (404, Method::GET, "/v1/instances/../../etc/passwd/start", ""),
        (400, Method::GET, "/v1/logs?of=../../etc/passwd", ""),
        (405, Method::DELETE, "/v1/status", ""),
        (405, Method::GET, "/v1/services/api/swap", ""),
        (400, Method::POST, "/v1/instances/..%2f..%2fetc/stop", ""),
        (400, Method::GET, "/v1/logs?of=api,API@1", ""),
        (400, Method::POST, "/v1/instances/%ff/stop", ""),
        (400, Method::GET, "/v1/rollouts/-1", ""),
        (400, Method::GET, "/v1/rollouts/99999999999999999999", ""),
        (400, Method::GET, "/v1/logs?of=api&n=-1", ""),
        (400, Method::GET, "/v1/logs?lines=4", ""),
        (400, Method::GET, "/v1/logs?since=today", ""),
        (400, Method::GET, "/v1/rollouts/7/wait?timeout_s=NaN", ""),
        (400, Method::GET, "/v1/rollouts/7/wait?timeout_s=-1", ""),
        (400, Method::POST, "/v1/services/api/swap", "{"),
        (400, Method::POST, "/v1/services/api/swap", "[]x"),
        (400, Method::POST, "/v1/services/api/swap", r#"{"relase":"x"}"#),
        (400, Method::POST, "/v1/instances/api@0/stop", ""),
    ];
    for (status, method, target, body) in asked {
        let (got, said) = room.ask(method, target, body).await;
        assert_eq!(got, status, "{target}: {said}");
        assert!(said["message"].is_string() && said["hint"].is_string(), "{target}: {said}");
    }
    assert!(room.ops.heard().is_empty(), "{:?}", room.ops.heard());
}

#[tokio::test]
async fn another_method_is_told_which_there_are() {
    let room = Room::new();
    let reply = room.reply(known(Access::Admin), Method::PUT, "/v1/nginx/test", "").await;
    assert_eq!(reply.headers()["allow"], "POST");
}

#[tokio::test]
async fn problems_of_operations_and_panics_are_told() {
    let room = Room::new();
    let (status, said) = room.get(&format!("/v1/rollouts/{MISSING}")).await;
    assert_eq!((status, &said["code"]), (404, &"not_found".into()));
    let (status, said) = room.get(&format!("/v1/rollouts/{PANICS}")).await;
    assert_eq!((status, &said["code"]), (500, &"failed".into()));
    assert_eq!(room.get("/v1/version").await.0, 200);
}

#[tokio::test]
async fn numbers_are_kept_within_their_limits() {
    let room = Room::new();
    room.get("/v1/rollouts/7/wait?revision=3&timeout_s=4000").await;
    for target in [
        "/v1/logs",
        "/v1/logs?of=api,worker&n=99999999&follow=false",
        "/v1/logs?since=2026-03-01T12:00:00Z&grep=a%2Bb",
        "/v1/events?after=5",
    ] {
        text(room.reply(known(Access::Read), Method::GET, target, "").await).await;
    }
    assert_eq!(
        room.ops.heard(),
        [
            "wait 7 Wait { revision: 3, timeout_s: Some(60.0) }",
            "logs  Some(100) None false",
            "logs api worker Some(10000) None false",
            "logs  None Some(\"a+b\") false",
            "events Events { after: 5, n: Some(100), follow: false }",
        ]
    );
}

#[tokio::test]
async fn events_can_be_gone_on_with() {
    let room = Room::new();
    let request = Request::get("/v1/events").header("Last-Event-ID", "41");
    let request = request.body(Full::new(Bytes::new())).unwrap();
    let reply = handle(&room.shared, known(Access::Read), request).await;
    assert_eq!(reply.headers()["content-type"], "text/event-stream");
    let text = text(reply).await;
    let first = "id: 42\ndata: {\"id\":42,\"at\":0,\"kind\":\"test\",\"message\":\"\"}\n\nid: 43\n";
    assert!(text.starts_with(first), "{text}");
    // The one that was not stored has no id to come back to.
    assert!(!text.contains("id: 0"), "{text}");
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_and_ends_the_connection() {
    let room = Room::new();
    let body = " ".repeat(Limits::default().body_bytes);
    assert_eq!(room.post("/v1/services/api/swap", &body).await.0, 202);
    let body = body + " ";
    let reply = room.reply(known(Access::Admin), Method::GET, "/v1/version", &body).await;
    assert_eq!(reply.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(reply.headers()["connection"], "close");
    assert_eq!(document(reply).await["code"], "too_large");
}
