//! What in the SQL of a migration locks out the application, or breaks the code that still runs. Pure.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};
use sqlparser::ast::{
    AlterColumnOperation, AlterTable, AlterTableOperation, ColumnDef, ColumnOption, CreateIndex,
    ObjectName, ObjectType, Statement, TableConstraint,
};

use super::script;

/// What a statement does to those who use the database meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hazard {
    /// A column goes.
    DropColumn,
    /// A column has another name.
    RenameColumn,
    /// A table goes.
    DropTable,
    /// A table has another name.
    RenameTable,
    /// All rows go.
    Truncate,
    /// A new column that every row must have, and nothing says with what.
    NotNullWithoutDefault,
    /// A column that must have a value from now on.
    SetNotNull,
    /// A column of another type.
    TypeChange,
    /// An index that is built while nobody may write.
    IndexNotConcurrent,
    /// A constraint that looks at every row while nobody may write.
    ConstraintNotDeferred,
    /// A constraint that builds an index while nobody may read or write.
    UniqueConstraint,
    /// It could not be read, so nothing is known of it.
    Unread,
}

impl Hazard {
    /// What is wrong with it.
    #[must_use]
    pub const fn why(self) -> &'static str {
        match self {
            Self::DropColumn => "the code that still runs may read or write the column",
            Self::RenameColumn => "the code that still runs knows the column by its old name",
            Self::DropTable => "the code that still runs may use the table",
            Self::RenameTable => "the code that still runs knows the table by its old name",
            Self::Truncate => "every row is gone, and the table is locked",
            Self::NotNullWithoutDefault => {
                "it fails where there are rows, and the code that still runs cannot insert any more"
            }
            Self::SetNotNull => {
                "it reads the whole table while it is locked, and the code that still runs may not \
                 give a value"
            }
            Self::TypeChange => {
                "it may write the whole table anew while it is locked, and the code that still runs \
                 knows the old type"
            }
            Self::IndexNotConcurrent => "nobody can write to the table while the index is built",
            Self::ConstraintNotDeferred => "it reads the whole table while nobody can write to it",
            Self::UniqueConstraint => "nobody can use the table while its index is built",
            Self::Unread => "aibk cannot read this statement, and does not know what it does",
        }
    }

    /// What to do instead.
    #[must_use]
    pub const fn instead(self) -> &'static str {
        match self {
            Self::DropColumn | Self::DropTable => {
                "deploy code that does not use it first, and drop it with the deploy after that"
            }
            Self::RenameColumn | Self::RenameTable => {
                "add the new one, fill both, and drop the old one with a later deploy"
            }
            Self::Truncate => "delete in pieces, in a migration of its own",
            Self::NotNullWithoutDefault => "give it a server_default, or let it be NULL at first",
            Self::SetNotNull => {
                "add CHECK (… IS NOT NULL) NOT VALID, validate it, then set it, with a later deploy"
            }
            Self::TypeChange => "add a column of the new type, fill it, and change over later",
            Self::IndexNotConcurrent => {
                "use CONCURRENTLY (postgresql_concurrently=True in an autocommit_block)"
            }
            Self::ConstraintNotDeferred => "add it NOT VALID, and VALIDATE it in a later migration",
            Self::UniqueConstraint => {
                "build a unique index CONCURRENTLY, then ADD CONSTRAINT … UNIQUE USING INDEX"
            }
            Self::Unread => "look at it yourself",
        }
    }
}

/// Something in the SQL of a migration that somebody should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// In which revision, where that is known.
    pub revision: Option<String>,
    /// What it is.
    pub hazard: Hazard,
    /// The statement, on one line, shortened.
    pub statement: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(revision) = &self.revision {
            write!(f, "{revision}: ")?;
        }
        write!(f, "{}: {}; {}", self.statement, self.hazard.why(), self.hazard.instead())
    }
}

/// Looks at the SQL of `alembic upgrade --sql`. What happens to a table that the same SQL makes
/// concerns nobody.
#[must_use]
pub fn lint(sql: &str) -> Vec<Warning> {
    let mut warnings = vec![];
    let mut new = BTreeSet::new();
    for script::Piece { revision, statement, shown } in script::pieces(sql) {
        let hazards = match statement {
            Some(statement) => hazards(&statement, &mut new),
            None => vec![Hazard::Unread],
        };
        warnings.extend(hazards.into_iter().map(|hazard| Warning {
            revision: revision.clone(),
            hazard,
            statement: shown.clone(),
        }));
    }
    warnings
}

fn hazards(statement: &Statement, new: &mut BTreeSet<String>) -> Vec<Hazard> {
    let is_new = |new: &BTreeSet<String>, name: &ObjectName| new.contains(&name.to_string());
    match statement {
        Statement::CreateTable(table) => {
            new.insert(table.name.to_string());
            vec![]
        }
        Statement::AlterTable(AlterTable { name, operations, .. }) if !is_new(new, name) => {
            operations.iter().filter_map(of_operation).collect()
        }
        Statement::CreateIndex(CreateIndex { table_name, concurrently: false, .. })
            if !is_new(new, table_name) =>
        {
            vec![Hazard::IndexNotConcurrent]
        }
        Statement::Drop { object_type: ObjectType::Table, names, .. }
            if names.iter().any(|name| !is_new(new, name)) =>
        {
            vec![Hazard::DropTable]
        }
        Statement::Truncate(_) => vec![Hazard::Truncate],
        _ => vec![],
    }
}

fn of_operation(operation: &AlterTableOperation) -> Option<Hazard> {
    match operation {
        AlterTableOperation::DropColumn { .. } => Some(Hazard::DropColumn),
        AlterTableOperation::RenameColumn { .. } => Some(Hazard::RenameColumn),
        AlterTableOperation::RenameTable { .. } => Some(Hazard::RenameTable),
        AlterTableOperation::AddColumn { column_def, .. } => of_column(column_def),
        AlterTableOperation::AlterColumn { op, .. } => match op {
            AlterColumnOperation::SetNotNull => Some(Hazard::SetNotNull),
            AlterColumnOperation::SetDataType { .. } => Some(Hazard::TypeChange),
            _ => None,
        },
        AlterTableOperation::AddConstraint { constraint, not_valid } => match constraint {
            TableConstraint::Unique(_)
            | TableConstraint::PrimaryKey(_)
            | TableConstraint::Exclude(_) => Some(Hazard::UniqueConstraint),
            TableConstraint::ForeignKey(_) | TableConstraint::Check(_) if !not_valid => {
                Some(Hazard::ConstraintNotDeferred)
            }
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn of_column(column: &ColumnDef) -> Option<Hazard> {
    let has =
        |is: fn(&ColumnOption) -> bool| column.options.iter().any(|option| is(&option.option));
    let filled = has(|option| {
        matches!(
            option,
            ColumnOption::Default(_) | ColumnOption::Generated { .. } | ColumnOption::Identity(_)
        )
    });
    if has(|option| matches!(option, ColumnOption::NotNull)) && !filled {
        return Some(Hazard::NotNullWithoutDefault);
    }
    has(|option| matches!(option, ColumnOption::Unique(_) | ColumnOption::PrimaryKey(_)))
        .then_some(Hazard::UniqueConstraint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sql: &str) -> Vec<Hazard> {
        lint(sql).into_iter().map(|warning| warning.hazard).collect()
    }

    #[test]
    fn each_hazard_is_seen() {
        for (sql, hazard) in [
            ("ALTER TABLE users DROP COLUMN name", Hazard::DropColumn),
            ("ALTER TABLE users RENAME name TO title", Hazard::RenameColumn),
            ("ALTER TABLE users RENAME COLUMN name TO title", Hazard::RenameColumn),
            ("DROP TABLE users", Hazard::DropTable),
            ("ALTER TABLE users RENAME TO people", Hazard::RenameTable),
            ("TRUNCATE users", Hazard::Truncate),
            ("ALTER TABLE users ADD COLUMN age INTEGER NOT NULL", Hazard::NotNullWithoutDefault),
            ("ALTER TABLE users ALTER COLUMN name SET NOT NULL", Hazard::SetNotNull),
            ("ALTER TABLE users ALTER COLUMN name TYPE VARCHAR(9)", Hazard::TypeChange),
            ("ALTER TABLE users ALTER COLUMN n TYPE INT USING n::int", Hazard::TypeChange),
            ("CREATE INDEX i ON users (name)", Hazard::IndexNotConcurrent),
            ("CREATE UNIQUE INDEX i ON public.users (name)", Hazard::IndexNotConcurrent),
            ("ALTER TABLE users ADD CONSTRAINT c CHECK (id > 0)", Hazard::ConstraintNotDeferred),
            (
                "ALTER TABLE users ADD CONSTRAINT c FOREIGN KEY(a) REFERENCES b (id)",
                Hazard::ConstraintNotDeferred,
            ),
            ("ALTER TABLE users ADD CONSTRAINT c UNIQUE (name)", Hazard::UniqueConstraint),
            ("FROBNICATE users", Hazard::Unread),
            ("SELECT 'open", Hazard::Unread),
        ] {
            assert_eq!(found(sql), [hazard], "{sql}");
        }
    }

    #[test]
    fn what_harms_nobody_is_let_pass() {
        for sql in [
            "ALTER TABLE users ADD COLUMN age INTEGER",
            "ALTER TABLE users ADD COLUMN age INTEGER DEFAULT 0 NOT NULL",
            "ALTER TABLE users ALTER COLUMN name DROP NOT NULL",
            "ALTER TABLE users ALTER COLUMN name SET DEFAULT 'DROP TABLE users; '",
            "CREATE INDEX CONCURRENTLY i ON users (name)",
            "ALTER TABLE users ADD CONSTRAINT c CHECK (id > 0) NOT VALID",
            "ALTER TABLE users VALIDATE CONSTRAINT c",
            "ALTER TABLE users ADD CONSTRAINT c UNIQUE USING INDEX i",
            "BEGIN; UPDATE alembic_version SET version_num='b2' WHERE version_num = 'a1'; COMMIT;",
            "CREATE TABLE t (id SERIAL NOT NULL, PRIMARY KEY (id)); CREATE INDEX i ON t (id); \
             ALTER TABLE t ADD CONSTRAINT c UNIQUE (id); DROP TABLE t",
            "-- DROP TABLE users;\n/* DROP TABLE users */",
            "INSERT INTO t VALUES ('a;b', $$;DROP TABLE users;$$)",
            "",
        ] {
            assert_eq!(found(sql), [], "{sql}");
        }
    }

    #[test]
    fn a_warning_tells_where_and_what_to_do() {
        let sql = "BEGIN;\n\n-- Running upgrade  -> a1\n\nCREATE TABLE u (id INT);\n\n-- Running \
                   upgrade a1 -> b2\n\n-- gone\nALTER TABLE users\n  DROP COLUMN name;\n\nCOMMIT;\n";
        let warnings = lint(sql);
        let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
        assert_eq!(
            warning.to_string(),
            "b2: ALTER TABLE users DROP COLUMN name: the code that still runs may read or write the \
             column; deploy code that does not use it first, and drop it with the deploy after that"
        );
    }
}
