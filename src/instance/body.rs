//! What is behind a handle: a process tree with a socket of its own, or several on one that the
//! daemon holds. Where its service gets the other kind, the next start of a slot is of that kind.

use std::{future::Future, sync::Arc};

use super::{
    Command, Ground, InstanceError, Order, View, chart::Board, driver::Driver, team::Team,
};
use crate::{
    config::Service,
    ident::{InstanceId, Port},
    latest, mailbox,
    process::{Capture, Gate},
};

/// What drives one slot.
pub(super) enum Body {
    /// One process tree.
    Tree(Box<Driver>),
    /// Several on one socket.
    Team(Box<Team>),
}

/// Why a body has come to its end.
pub(super) enum Left {
    /// Nobody gives orders any more.
    Alone,
    /// This is a start of the other kind, and nothing runs.
    Other(Command),
}

/// What stays when a body makes way for another.
pub(super) struct Place {
    pub(super) id: InstanceId,
    pub(super) ground: Ground,
    pub(super) capture: Capture,
    pub(super) view: latest::Sender<View>,
    pub(super) board: Board,
    pub(super) stand_in: latest::Receiver<Option<latest::Receiver<View>>>,
}

impl Place {
    /// The gate of the slot, closed.
    pub(super) fn gate(&self, service: &Service) -> Arc<Gate> {
        let port = self.id.slot.port().map_or(0, Port::get);
        let address = std::net::SocketAddr::new(service.host(), port);
        Gate::new(self.id.clone(), address, self.ground.shelf.clone())
    }

    /// A body for `service`, of which nothing is there yet.
    fn body(&self, service: Arc<Service>) -> Result<Body, InstanceError> {
        let (id, ground, capture) = (self.id.clone(), self.ground.clone(), self.capture.clone());
        let Some(count) = service.held() else {
            let driver = Driver::new(id, service, None, ground, capture, None);
            return Ok(Body::Tree(Box::new(driver.shown_on(self))));
        };
        let gate = self.gate(&service);
        let team = Team::new(id, service, (count, gate), &[], ground, capture)?;
        Ok(Body::Team(Box::new(team.shown_on(self))))
    }

    /// Lets `body`, and whatever follows it, take `orders`. Not an `async fn`: it would keep its
    /// arguments twice, and there are many of these.
    #[allow(clippy::manual_async_fn)]
    pub(super) fn live(
        self,
        mut body: Body,
        mut orders: mailbox::Receiver<Command>,
    ) -> impl Future<Output = ()> + Send {
        async move {
            let mut first = None;
            loop {
                let left = match &mut body {
                    Body::Tree(driver) => driver.run(&mut orders, first.take()).await,
                    Body::Team(team) => Box::pin(team.run(&mut orders, first.take())).await,
                };
                let Left::Other(command) = left else { return };
                let (service, gone) = match &body {
                    Body::Tree(driver) => (Arc::clone(&driver.service), vec![self.id.clone()]),
                    Body::Team(team) => (team.service(), team.workers()),
                };
                match self.body(service) {
                    Ok(other) => {
                        body = other;
                        first = Some(command);
                        Box::pin(self.forget(gone)).await;
                    }
                    Err(e) => drop(command.1.send(Err(e))),
                }
            }
        }
    }

    /// What the next daemon would have to put away.
    async fn forget(&self, gone: Vec<InstanceId>) {
        for id in gone {
            if let Err(e) = self.ground.store.forget_slot(id).await {
                tracing::warn!(instance = %self.id, "{e}");
            }
        }
    }
}

impl Driver {
    /// A start that another body has to make.
    pub(super) fn leaves_to_other(&self, order: &Order) -> bool {
        let is_other = self.id.worker.is_none() && self.service.held().is_some();
        is_other && self.tree.is_none() && matches!(order, Order::Start { .. })
    }
}

impl Team {
    /// A start that another body has to make.
    pub(super) fn leaves_to_other(&self, order: &Order) -> bool {
        let is_other = self.service().held().is_none();
        is_other && self.is_over() && matches!(order, Order::Start { .. })
    }
}
