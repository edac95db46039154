//! What the SQL of a migration does to code that does not know of it: the older code while it is ahead,
//! the newer one while it is taken back. Pure.
//!
//! Only what is known to be harmless passes. A lock that is waited for is no harm here: see
//! [`lint`](super::lint).

use std::{collections::BTreeSet, fmt};

use sqlparser::ast::{
    AlterColumnOperation, AlterTable, AlterTableOperation, AlterTypeOperation, AssignmentTarget,
    ColumnDef, ColumnOption, CreateIndex, Expr, FromTable, Ident, IndexColumn, ObjectName,
    ObjectType, Statement, TableConstraint, TableFactor, Update,
};

use super::{Hazard, lint, script};

/// Where Alembic keeps the revision that a database is at.
const VERSIONS: &str = "alembic_version";

/// What SQL does to code that does not know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Such code runs on as before.
    Harmless,
    /// These statements are in its way, or nobody can tell that they are not.
    Breaks(Vec<Breach>),
    /// The SQL cannot be had, for this reason.
    Unknown(String),
}

/// A statement that is in the way of code that does not know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// Of which revision, where that is known.
    pub revision: Option<String>,
    /// On one line, shortened.
    pub statement: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(revision) = &self.revision {
            write!(f, "{revision}: ")?;
        }
        f.write_str(&self.statement)
    }
}

/// Looks at the SQL of `alembic upgrade --sql` or `alembic downgrade --sql`.
#[must_use]
pub fn effect(sql: &str) -> Effect {
    let mut new = New::default();
    let breaches: Vec<Breach> = script::pieces(sql)
        .into_iter()
        .filter(|piece| !piece.statement.as_ref().is_some_and(|it| is_harmless(it, &mut new)))
        .map(|piece| Breach { revision: piece.revision, statement: piece.shown })
        .collect();
    if breaches.is_empty() { Effect::Harmless } else { Effect::Breaks(breaches) }
}

/// What the same SQL has made: code that does not know of it does not use it.
#[derive(Default)]
struct New {
    tables: BTreeSet<String>,
    columns: BTreeSet<(String, String)>,
}

impl New {
    fn has_table(&self, table: &ObjectName) -> bool {
        self.tables.contains(&table.to_string())
    }

    /// Rows of `table` that are changed or go are nobody else's.
    fn has_rows_of(&self, table: &TableFactor) -> bool {
        let TableFactor::Table { name, .. } = table else { return false };
        let last = name.0.last().and_then(|part| part.as_ident());
        self.has_table(name) || last.is_some_and(|last| last.value == VERSIONS)
    }

    /// What `update` sets is new, too.
    fn has_what_is_set(&self, update: &Update) -> bool {
        let TableFactor::Table { name, .. } = &update.table.relation else { return false };
        let set = update.assignments.iter().map(|assignment| match &assignment.target {
            AssignmentTarget::ColumnName(column) => column.0.last()?.as_ident(),
            AssignmentTarget::Tuple(_) => None,
        });
        self.has_rows_of(&update.table.relation) || self.have(name, set.collect())
    }

    /// All of `columns`, which are none where one is not known.
    fn have(&self, table: &ObjectName, columns: Option<Vec<&Ident>>) -> bool {
        let is_new =
            |column: &&Ident| self.columns.contains(&(table.to_string(), column.value.clone()));
        self.has_table(table) || columns.is_some_and(|columns| columns.iter().all(is_new))
    }
}

fn is_harmless(statement: &Statement, new: &mut New) -> bool {
    match statement {
        Statement::CreateTable(table) => {
            new.tables.insert(table.name.to_string());
            true
        }
        Statement::AlterTable(AlterTable { name, operations, .. }) => {
            operations.iter().all(|operation| is_harmless_change(name, operation, new))
        }
        Statement::CreateIndex(CreateIndex { unique: true, table_name, columns, .. }) => {
            new.have(table_name, of_index(columns))
        }
        Statement::Drop { object_type: ObjectType::Table, names, .. } => {
            names.iter().all(|name| new.has_table(name))
        }
        Statement::Update(update) => new.has_what_is_set(update),
        Statement::Delete(delete) => {
            let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
            from.iter().all(|table| new.has_rows_of(&table.relation))
        }
        Statement::CreateView(view) => !view.or_replace,
        Statement::AlterType(alter) => {
            matches!(alter.operation, AlterTypeOperation::AddValue(_))
        }
        Statement::CreateIndex(_)
        | Statement::Drop { object_type: ObjectType::Index, .. }
        | Statement::CreateSequence { .. }
        | Statement::CreateType { .. }
        | Statement::CreateSchema { .. }
        | Statement::CreateExtension(_)
        | Statement::Comment { .. }
        | Statement::Analyze(_)
        | Statement::Set(_)
        | Statement::Insert(_)
        | Statement::Query(_)
        | Statement::StartTransaction { .. }
        | Statement::Commit { .. } => true,
        _ => false,
    }
}

fn is_harmless_change(table: &ObjectName, operation: &AlterTableOperation, new: &mut New) -> bool {
    match operation {
        AlterTableOperation::AddColumn { column_def, .. } => {
            let harmless = new.has_table(table) || is_harmless_column(column_def);
            new.columns.insert((table.to_string(), column_def.name.value.clone()));
            harmless
        }
        AlterTableOperation::AddConstraint { constraint, .. } => match constraint {
            TableConstraint::ForeignKey(key) => new.have(table, Some(key.columns.iter().collect())),
            TableConstraint::Unique(unique) => new.have(table, of_index(&unique.columns)),
            _ => new.has_table(table),
        },
        AlterTableOperation::AlterColumn { column_name, op } => {
            let harmless = matches!(
                op,
                AlterColumnOperation::DropNotNull | AlterColumnOperation::SetDefault { .. }
            );
            harmless || new.have(table, Some(vec![column_name]))
        }
        AlterTableOperation::DropColumn { column_names, .. } => {
            new.have(table, Some(column_names.iter().collect()))
        }
        AlterTableOperation::DropConstraint { .. }
        | AlterTableOperation::RenameConstraint { .. }
        | AlterTableOperation::ValidateConstraint { .. } => true,
        _ => new.has_table(table),
    }
}

/// Code that does not know of it may leave it out.
fn is_harmless_column(column: &ColumnDef) -> bool {
    let has =
        |is: fn(&ColumnOption) -> bool| column.options.iter().any(|option| is(&option.option));
    let all_the_same = has(|option| matches!(option, ColumnOption::Default(_)))
        && has(|option| matches!(option, ColumnOption::Unique(_)));
    lint::of_column(column) != Some(Hazard::NotNullWithoutDefault) && !all_the_same
}

/// Its columns, unless one of them is something else.
fn of_index(columns: &[IndexColumn]) -> Option<Vec<&Ident>> {
    columns.iter().map(of_expression).collect()
}

const fn of_expression(column: &IndexColumn) -> Option<&Ident> {
    match &column.column.expr {
        Expr::Identifier(name) => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_adds_is_in_nobodys_way() {
        for sql in [
            "",
            "BEGIN; SET lock_timeout = '5s'; COMMIT;",
            "UPDATE alembic_version SET version_num='b2' WHERE version_num = 'a1'",
            "CREATE TABLE t (id SERIAL NOT NULL, PRIMARY KEY (id)); CREATE UNIQUE INDEX i ON t (id); \
             ALTER TABLE t ADD CONSTRAINT c CHECK (id > 0); DROP TABLE t",
            "ALTER TABLE users ADD COLUMN o INTEGER; \
             ALTER TABLE users ADD CONSTRAINT f FOREIGN KEY(o) REFERENCES orgs (id); \
             ALTER TABLE users ADD CONSTRAINT u UNIQUE (o); CREATE UNIQUE INDEX i ON users (o); \
             ALTER TABLE users ALTER COLUMN o SET NOT NULL; ALTER TABLE users DROP COLUMN o",
            "ALTER TABLE users ADD COLUMN age INTEGER DEFAULT 0 NOT NULL",
            "ALTER TABLE users ALTER COLUMN n DROP NOT NULL",
            "ALTER TABLE users ALTER COLUMN n SET DEFAULT 'x'",
            "ALTER TABLE users DROP CONSTRAINT c",
            "CREATE INDEX i ON users (n); DROP INDEX i",
            "ALTER TYPE mood ADD VALUE 'x'",
            "CREATE VIEW v AS SELECT 1; INSERT INTO kinds VALUES (1)",
            "DELETE FROM alembic_version WHERE version_num = 'a1'",
            "ALTER TABLE users ADD COLUMN o INTEGER; UPDATE users SET o = 7",
            "CREATE TABLE t (id INTEGER); UPDATE t SET id = 1; DELETE FROM t",
            "COMMENT ON TABLE users IS 'DROP TABLE users;'",
        ] {
            assert_eq!(effect(sql), Effect::Harmless, "{sql}");
        }
    }

    #[test]
    fn what_takes_away_or_demands_is_in_the_way_and_so_is_what_nobody_knows() {
        for sql in [
            "ALTER TABLE users DROP COLUMN n",
            "DROP TABLE users",
            "ALTER TABLE users RENAME n TO title",
            "ALTER TABLE users RENAME TO people",
            "ALTER TABLE users ALTER COLUMN n TYPE VARCHAR(9)",
            "ALTER TABLE users ALTER COLUMN n SET NOT NULL",
            "ALTER TABLE users ALTER COLUMN n DROP DEFAULT",
            "ALTER TABLE users ADD COLUMN age INTEGER NOT NULL",
            "ALTER TABLE users ADD COLUMN code INTEGER DEFAULT 0 UNIQUE",
            "ALTER TABLE users ADD CONSTRAINT c CHECK (id > 0) NOT VALID",
            "ALTER TABLE users ADD CONSTRAINT f FOREIGN KEY(n) REFERENCES orgs (id)",
            "ALTER TABLE users ADD CONSTRAINT u UNIQUE (n)",
            "CREATE UNIQUE INDEX CONCURRENTLY i ON users (n)",
            "CREATE UNIQUE INDEX i ON users (lower(n))",
            "ALTER TYPE mood RENAME VALUE 'x' TO 'y'",
            "ALTER TABLE users ENABLE ROW LEVEL SECURITY",
            "CREATE OR REPLACE VIEW v AS SELECT 1",
            "DROP VIEW v",
            "UPDATE users SET n = upper(n)",
            "DELETE FROM kinds",
            "TRUNCATE users",
            "FROBNICATE users",
            "SELECT 'open",
        ] {
            let Effect::Breaks(breaches) = effect(sql) else { panic!("{sql} passes") };
            assert_eq!(breaches.len(), 1, "{sql}");
        }
    }

    #[test]
    fn what_is_in_the_way_is_named_with_its_revision() {
        let sql = "BEGIN;\n-- Running downgrade c3 -> b2\nALTER TABLE users DROP COLUMN\n  n;\n\
                   -- Running downgrade b2 -> \nDROP TABLE users;\nCOMMIT;\n";
        let Effect::Breaks(breaches) = effect(sql) else { panic!("it passes") };
        let told: Vec<String> = breaches.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["c3: ALTER TABLE users DROP COLUMN n", "b2: DROP TABLE users"]);
    }
}
