//! Which goes back first, the services or the schema, so that no code meets a schema that it cannot
//! run on. Pure.

use super::record::{Loss, Order};
use crate::migration::{Crossing, Effect};

/// Statements of one direction that are named; the rest is counted.
const NAMED: usize = 5;

/// What the services have while the schema has yet to go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serving {
    /// Code that is newer than the schema will be.
    Newer,
    /// The code that the schema goes back to.
    Older,
}

/// What goes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) order: Order,
    /// In lines, for people.
    pub(super) why: Vec<String>,
}

/// Decides what goes first. Where neither order keeps every request, and that is not accepted, this
/// is refused, in lines for people.
pub(super) fn choose(
    crossing: &Crossing,
    serving: Serving,
    loss: Loss,
) -> Result<Choice, Vec<String>> {
    let chosen = |order, why| Ok(Choice { order, why });
    let line = |text: &str| text.to_owned();
    match (serving, &crossing.up, &crossing.down) {
        (Serving::Older, ..) => chosen(
            Order::SchemaFirst,
            vec![line("no service has newer code: only the schema goes")],
        ),
        (Serving::Newer, Effect::Harmless, Effect::Harmless) => {
            let why = "the services go first, then the schema: either code runs on either schema";
            chosen(Order::CodeFirst, vec![line(why)])
        }
        (Serving::Newer, Effect::Harmless, down) => {
            let mut why = vec![line(
                "the services go first, then the schema: the older code runs on the schema as it is",
            )];
            why.extend(told("the newer code may not run on the older schema", down));
            chosen(Order::CodeFirst, why)
        }
        (Serving::Newer, up, Effect::Harmless) => {
            let mut why = vec![line(
                "the schema goes first, then the services: the newer code runs on the older schema",
            )];
            why.extend(told("the older code may not run on the schema as it is", up));
            chosen(Order::SchemaFirst, why)
        }
        (Serving::Newer, up, down) => {
            let mut why = vec![line("requests may fail, whatever goes first:")];
            why.extend(told("the older code may not run on the schema as it is", up));
            why.extend(told("the newer code may not run on the older schema", down));
            match loss {
                Loss::Accepted => {
                    why.push(line("that is accepted: the schema goes first, then the services"));
                    chosen(Order::SchemaFirst, why)
                }
                Loss::Never => {
                    why.push(line(
                        "nothing was done; `--force` accepts it: the schema goes first, then the \
                         services, and requests may fail until they are there",
                    ));
                    Err(why)
                }
            }
        }
    }
}

/// Why the older code may serve while the schema stays as it is, where it may.
pub(super) fn stays(crossing: &Crossing) -> Option<&'static str> {
    let only_adds =
        "the database stays as it is: what came since only adds, and the release runs on it";
    (crossing.up == Effect::Harmless).then_some(only_adds)
}

/// `what`, with the statements that say so.
fn told(what: &str, effect: &Effect) -> Vec<String> {
    match effect {
        Effect::Harmless => vec![],
        Effect::Unknown(why) => vec![format!("  {what}: its SQL cannot be had: {why}")],
        Effect::Breaks(breaches) => {
            let named = breaches.iter().take(NAMED).map(|breach| format!("    {breach}"));
            let rest = breaches.len().saturating_sub(NAMED);
            let rest = (rest > 0).then(|| format!("    and {rest} more"));
            std::iter::once(format!("  {what}:")).chain(named).chain(rest).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::Breach;

    fn breaks() -> Effect {
        let statement = "DROP TABLE users".to_owned();
        Effect::Breaks(vec![Breach { revision: Some("b2".to_owned()), statement }])
    }

    fn unknown() -> Effect {
        Effect::Unknown("no offline mode".to_owned())
    }

    #[test]
    fn what_goes_first_depends_on_what_each_code_can_run_on() {
        use Effect::Harmless;
        for (up, down, order) in [
            (Harmless, Harmless, Some(Order::CodeFirst)),
            (Harmless, breaks(), Some(Order::CodeFirst)),
            (Harmless, unknown(), Some(Order::CodeFirst)),
            (breaks(), Harmless, Some(Order::SchemaFirst)),
            (unknown(), Harmless, Some(Order::SchemaFirst)),
            (breaks(), breaks(), None),
            (unknown(), unknown(), None),
            (breaks(), unknown(), None),
            (unknown(), breaks(), None),
        ] {
            let crossing = Crossing { up, down };
            let chosen = |serving, loss| choose(&crossing, serving, loss).map(|it| it.order).ok();
            assert_eq!(chosen(Serving::Newer, Loss::Never), order, "{crossing:?}");
            let accepted = order.unwrap_or(Order::SchemaFirst);
            assert_eq!(chosen(Serving::Newer, Loss::Accepted), Some(accepted), "{crossing:?}");
            let alone = chosen(Serving::Older, Loss::Never);
            assert_eq!(alone, Some(Order::SchemaFirst), "{crossing:?}");
            let runs_on_it = order == Some(Order::CodeFirst);
            assert_eq!(stays(&crossing).is_some(), runs_on_it, "{crossing:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_statements_and_the_way_on() {
        let crossing = Crossing { up: unknown(), down: breaks() };
        let told = choose(&crossing, Serving::Newer, Loss::Never).unwrap_err().join("\n");
        for said in ["whatever goes first", "no offline mode", "b2: DROP TABLE users", "--force"] {
            assert!(told.contains(said), "{told}");
        }
        let one = Breach { revision: None, statement: "DROP TABLE users".to_owned() };
        let many = Crossing { up: Effect::Harmless, down: Effect::Breaks(vec![one; 7]) };
        let why = choose(&many, Serving::Newer, Loss::Never).unwrap().why;
        assert_eq!((why.len(), why.last().unwrap().as_str()), (8, "    and 2 more"));
    }
}
