//! The `OpenAPI` document (3.1), made from the route table and the types.

use schemars::{Schema, generate::SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    route::{Answers, Call, Route, SchemaOf, TABLE, distinct_paths},
    types::{PROTOCOL, Problem, Rollout},
};

/// The document.
pub(super) fn document() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut schemas = settings.into_generator();
    let mut paths = Map::new();
    for path in distinct_paths() {
        let methods: Map<String, Value> = TABLE
            .iter()
            .filter(|route| route.path == path)
            .map(|r| (r.method.as_str().to_lowercase(), operation(r, &mut schemas)))
            .collect();
        paths.insert(path.to_owned(), methods.into());
    }
    let problem = schemas.subschema_for::<Problem>();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "aibk control socket",
            "version": PROTOCOL.to_string(),
            "description": "HTTP/1.1 over a unix socket. Who may ask for what is decided by the \
                peer's user and groups; `x-aibk-access` is the least level that a route needs. \
                Long operations answer 202 with a rollout to wait for.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "responses": { "Problem": {
                "description": "What failed, on what, and what to do next",
                "content": { "application/json": { "schema": problem } },
            } },
        },
    })
}

fn operation(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let mut parameters: Vec<Value> = in_path(route.path).map(path_parameter).collect();
    parameters
        .extend(route.query.map(|query| query_parameters(query, schemas)).unwrap_or_default());
    let (status, success) = success(route.answers, schemas);
    let mut operation = json!({
        "summary": route.summary,
        "x-aibk-access": route.needs,
        "responses": {
            status: success,
            "default": { "$ref": "#/components/responses/Problem" },
        },
    });
    if !parameters.is_empty() {
        put(&mut operation, "parameters", parameters.into());
    }
    if let Some(body) = body(route, schemas) {
        put(&mut operation, "requestBody", body);
    }
    operation
}

fn body(route: &Route, schemas: &mut SchemaGenerator) -> Option<Value> {
    let (required, kind, schema) = match (route.call, route.body) {
        // Bytes are of no type of JSON's.
        (Call::Receive(_), _) => (true, "application/octet-stream", Schema::default()),
        (_, body) => (false, "application/json", body?(schemas)),
    };
    Some(json!({ "required": required, "content": { kind: { "schema": schema } } }))
}

fn success(answers: Answers, schemas: &mut SchemaGenerator) -> (&'static str, Value) {
    let (status, kind, schema) = match answers {
        Answers::Json(of) => ("200", "application/json", of(schemas)),
        Answers::Accepted => ("202", "application/json", schemas.subschema_for::<Rollout>()),
        Answers::Lines(of) => ("200", "application/x-ndjson", of(schemas)),
        Answers::Sent(of) => ("200", "text/event-stream", of(schemas)),
        Answers::Document => ("200", "application/json", Schema::default()),
    };
    let description = match answers {
        Answers::Json(_) | Answers::Document => "The answer",
        Answers::Accepted => "Begun; wait for it at the Location",
        Answers::Lines(_) => "One of these per line",
        Answers::Sent(_) => "One of these in the data of each event",
    };
    let mut response = json!({
        "description": description,
        "content": { kind: { "schema": schema } },
    });
    if let Answers::Accepted = answers {
        let location = json!({ "Location": {
            "description": "Path of the rollout",
            "schema": { "type": "string" },
        } });
        put(&mut response, "headers", location);
    }
    (status, response)
}

/// The names in braces.
fn in_path(path: &'static str) -> impl Iterator<Item = &'static str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn path_parameter(name: &str) -> Value {
    let (description, schema) = match name {
        "id" => ("Id of a rollout", json!({ "type": "integer", "minimum": 0 })),
        "run" => ("Number of a run", json!({ "type": "integer", "minimum": 0 })),
        "job" => ("Name of a job: `backup`", json!({ "type": "string" })),
        "instance" => ("Name of an instance: `api@8000`", json!({ "type": "string" })),
        "app" => ("Name of an application: `shop`", json!({ "type": "string" })),
        _ => ("Name of a service: `api`", json!({ "type": "string" })),
    };
    json!({
        "name": name, "in": "path", "required": true,
        "description": description, "schema": schema,
    })
}

/// One parameter per field of the query's type.
fn query_parameters(query: SchemaOf, schemas: &mut SchemaGenerator) -> Vec<Value> {
    let reference = query(schemas);
    let name = reference
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|path| path.rsplit('/').next())
        .unwrap_or_default()
        .to_owned();
    // A query is no document of its own, so its type is not listed among the schemas.
    let fields = schemas.definitions_mut().remove(&name).unwrap_or_default();
    let fields = fields.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    fields
        .into_iter()
        .map(|(name, mut schema)| {
            let description =
                schema.as_object_mut().and_then(|schema| schema.remove("description"));
            json!({
                "name": name, "in": "query", "required": false,
                "description": description, "schema": schema,
            })
        })
        .collect()
}

fn put(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_lists_exactly_the_routes_of_the_table() {
        let document = document();
        let listed: BTreeSet<(String, String)> = document
            .get("paths")
            .and_then(Value::as_object)
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(|m| (path.clone(), m.to_uppercase()))
            })
            .collect();
        let table =
            TABLE.iter().map(|r| (r.path.to_owned(), r.method.as_str().to_owned())).collect();
        assert_eq!(listed, table);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let text = document.to_string();
        let references: Vec<&str> =
            text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(references.len() > TABLE.len());
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }

    #[test]
    fn it_is_as_published() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&document()).unwrap());
    }
}
