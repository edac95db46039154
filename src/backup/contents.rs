//! What is in a dump, by `pg_restore --list`, against what is in the database. Pure.

use crate::postgres::Table;

/// The tables of `wanted` that the list of a dump does not have, with their data where they have
/// any of their own.
#[must_use]
pub(super) fn lacking(list: &str, wanted: &[Table]) -> Vec<Table> {
    let entries: Vec<&str> = list.lines().filter_map(entry).collect();
    let has = |kind: &str, table: &Table| {
        let begin = format!("{kind} {} {} ", listed(&table.schema), listed(&table.name));
        entries.iter().any(|entry| entry.starts_with(&begin))
    };
    let whole = |table: &&Table| has("TABLE", table) && (table.divided || has("TABLE DATA", table));
    wanted.iter().filter(|table| !whole(table)).cloned().collect()
}

/// Whether the list has any table.
#[must_use]
pub(super) fn has_tables(list: &str) -> bool {
    list.lines().filter_map(entry).any(|entry| entry.starts_with("TABLE "))
}

/// What follows `213; 1259 16386 `.
fn entry(line: &str) -> Option<&str> {
    let (number, rest) = line.split_once("; ")?;
    number.parse::<u32>().ok()?;
    let mut words = rest.splitn(3, ' ');
    words.next()?.parse::<u32>().ok()?;
    words.next()?.parse::<u32>().ok()?;
    words.next()
}

/// A name as the list has it: line ends would make two entries of one.
fn listed(name: &str) -> String {
    name.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
;
; Archive created at 2026-03-01 03:00:00 UTC
;     TOC Entries: 9
;
; Selected TOC Entries:
;
213; 1259 16386 TABLE public users shop
214; 1259 16390 TABLE public odd name shop
215; 1259 16395 TABLE public parts shop
216; 1259 16399 TABLE audit users shop
3310; 0 16386 TABLE DATA public users shop
3311; 0 16390 TABLE DATA public odd name shop
";

    fn table(schema: &str, name: &str, divided: bool) -> Table {
        Table { schema: schema.to_owned(), name: name.to_owned(), rows: 0, divided }
    }

    fn lacks(tables: &[Table]) -> Vec<String> {
        lacking(LIST, tables).into_iter().map(|t| format!("{}.{}", t.schema, t.name)).collect()
    }

    #[test]
    fn every_table_must_be_there_with_its_data() {
        let good = [
            table("public", "users", false),
            table("public", "odd\nname", false),
            table("public", "parts", true),
        ];
        assert_eq!(lacks(&good), [""; 0]);
        let bad = [
            table("audit", "users", false),
            table("public", "user", false),
            table("x", "users", false),
        ];
        assert_eq!(lacks(&bad), ["audit.users", "public.user", "x.users"], "no data, no such");
    }

    #[test]
    fn comments_and_other_objects_are_no_tables() {
        assert!(has_tables(LIST));
        for list in [
            "",
            "; TABLE public users shop\n",
            "1; 2 3 VIEW public TABLE shop\n",
            "x; 1 2 TABLE a b c",
        ] {
            assert!(!has_tables(list), "{list}");
        }
    }
}
