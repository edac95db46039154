//! What a database tells of itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Postgres, PostgresError};

/// A table, and about how many rows it has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Table {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Rows, as the server estimates them.
    pub rows: u64,
    /// It is divided into others, and has no rows of its own.
    #[serde(default)]
    pub divided: bool,
}

/// A database as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Facts {
    /// The server's version: `15.8`.
    pub server: String,
    /// What it takes on the server's disk, in bytes.
    pub size: u64,
    /// Its tables, those of extensions apart.
    pub tables: Vec<Table>,
    /// Whether Alembic has written down there how far it came.
    versioned: bool,
    /// The revisions that it is at; none where Alembic is not used, or has not begun.
    #[serde(skip)]
    pub revisions: Vec<String>,
}

/// Tables of extensions come back with the extension, and are not dumped.
const FACTS: &str = "
SELECT json_build_object(
    'server', current_setting('server_version'),
    'size', pg_database_size(current_database()),
    'versioned', to_regclass('alembic_version') IS NOT NULL,
    'tables', coalesce((
        SELECT json_agg(json_build_object(
            'schema', n.nspname, 'name', c.relname, 'divided', c.relkind = 'p',
            'rows', greatest(c.reltuples, 0)::bigint) ORDER BY n.nspname, c.relname)
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
          AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
          AND NOT EXISTS (
              SELECT 1 FROM pg_catalog.pg_depend d
              WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
                AND d.deptype = 'e')
    ), '[]'::json))";

const REVISIONS: &str =
    "SELECT coalesce(json_agg(version_num ORDER BY version_num), '[]') FROM alembic_version";

impl Postgres<'_> {
    /// What the database is now.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn facts(&self, database: Option<&str>) -> Result<Facts, PostgresError> {
        let mut facts: Facts = read(&self.query(database, &[FACTS]).await?)?;
        if facts.versioned {
            facts.revisions = read(&self.query(database, &[REVISIONS]).await?)?;
        }
        Ok(facts)
    }

    /// How many rows `table` really has.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn count(&self, database: &str, table: &Table) -> Result<u64, PostgresError> {
        let (schema, name) = (identifier(&table.schema), identifier(&table.name));
        let query = format!("SELECT count(*) FROM {schema}.{name}");
        read(&self.query(Some(database), &[&query]).await?)
    }
}

fn read<T: for<'de> Deserialize<'de>>(answer: &str) -> Result<T, PostgresError> {
    serde_json::from_str(answer.trim())
        .map_err(|e| PostgresError::Answer { program: "psql", why: e.to_string() })
}

/// A name as SQL has it, whatever is in it.
#[must_use]
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL has it, whatever is in it.
#[must_use]
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_escapes_from_a_name_or_a_text() {
        assert_eq!(identifier("a\"; DROP"), "\"a\"\"; DROP\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
    }
}
