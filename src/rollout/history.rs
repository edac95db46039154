//! What was done to a service, however much was done to others since.

use super::{EngineError, engine::Engine, record::Rollout};
use crate::ident::ServiceName;

/// How many are looked at at once.
const PAGE: usize = 20;

impl Engine {
    /// The newest rollout of `service` that `tells`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn newest_that(
        &self,
        service: &ServiceName,
        tells: impl Fn(&Rollout) -> bool,
    ) -> Result<Option<Rollout>, EngineError> {
        let mut before = None;
        loop {
            let rows = self.rows_of(service, before, PAGE).await?;
            // One that cannot be read was told of when the daemon came up.
            let read = rows.iter().filter_map(|row| Rollout::read(row).ok());
            if let Some(found) = read.into_iter().find(|rollout| tells(rollout)) {
                return Ok(Some(found));
            }
            match rows.last() {
                Some(oldest) => before = Some(oldest.id),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        draft::draft,
        engine::Engine,
        plan_tests::{begun, both, request, service},
        record::{Kind, Loss, Outcome, Rollout},
    };
    use crate::{ident::ServiceName, nginx::Role, store::Store};

    fn api() -> ServiceName {
        "api".parse().unwrap()
    }

    /// Writes down that `kind` was done to `of`.
    async fn done(store: &Store, of: &ServiceName, kind: Kind) -> Rollout {
        let asked = request(Kind::Swap, None, Loss::Never);
        let drafted =
            draft(&asked, &service("[8000, 8001]", "stopped"), &both(Role::Backup)).unwrap();
        let row = store.begin_rollout(of.clone(), Box::new(|_| String::new())).await.unwrap();
        let mut rollout = begun(row.id, kind, None, drafted);
        rollout.service = of.clone();
        rollout.end(Outcome::Done, 1);
        store.put_rollout(rollout.row()).await.unwrap();
        rollout
    }

    /// More of another service than are listed, or looked at at once.
    async fn others(store: &Store) {
        let worker = "worker".parse().unwrap();
        for _ in 0..120 {
            done(store, &worker, Kind::Restart).await;
        }
    }

    #[tokio::test]
    async fn what_was_done_to_a_service_is_known_whatever_was_done_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let engine = Engine::new(store.clone(), std::collections::BTreeMap::new());
        let swap = done(&store, &api(), Kind::Swap).await;
        others(&store).await;
        engine.has_old_colour(&api()).await.unwrap();
        assert!(engine.is_newest(&swap).await.unwrap(), "its old colour is retired");
        let relieve = done(&store, &api(), Kind::Relieve).await;
        others(&store).await;
        assert!(engine.is_newest(&swap).await.unwrap(), "nobody did anything to its colours");
        assert_eq!(engine.newest_of(&api()).await.unwrap(), Some(relieve));
        done(&store, &api(), Kind::Rolling).await;
        others(&store).await;
        assert!(!engine.is_newest(&swap).await.unwrap(), "its old colour is not that of the swap");
        let refused = engine.has_old_colour(&api()).await.unwrap_err();
        assert!(refused.to_string().contains("(rolling) came after"), "{refused}");
    }
}
