//! `status`: everything, observed now.

use std::{sync::Arc, time::Instant};

use super::{Daemon, explain, managed_nginx, problems, views};
use crate::{
    api::{
        explain::Explanation,
        operations::Answer,
        types::{DaemonStatus, NginxFile, NginxStatus, ServiceStatus, Status},
    },
    config::Service,
    ident::InstanceId,
    nginx::{Edited, Observed},
    rollout::Crew,
};

impl Daemon {
    /// The whole state. Waits for nothing but nginx's own answer, which has a deadline (`C1`).
    pub(super) async fn look(&self) -> Status {
        let observed = self.ask_nginx().await;
        let served = observed.as_ref().and_then(|o| o.as_ref().ok()).map(|o| &o.served);
        let mut services: Vec<ServiceStatus> =
            self.engine.crews().values().map(|crew| self.service(crew, served)).collect();
        if let Some(nginx) = &self.managed_nginx {
            services.push(ServiceStatus {
                name: nginx.id().service.to_string(),
                enabled: true,
                instances: vec![views::instance(&nginx.view(), crate::config::Slots::Sole, None)],
                rollout: None,
                waits: None,
            });
        }
        Status {
            daemon: DaemonStatus {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                uptime_s: self.began.elapsed().as_secs_f64(),
                config: self.config_path.clone(),
            },
            nginx: observed.map(|observed| self.nginx_status(observed)),
            services,
            apps: self.app_statuses().await,
            jobs: self.job_statuses(),
        }
    }

    /// One instance, and why it is as it is.
    pub(super) async fn account_for(&self, id: &InstanceId) -> Answer<Explanation> {
        let instance = self.instance(id)?;
        let (view, chart, now) = (instance.view(), instance.chart(), Instant::now());
        let service = self.service_of(id)?;
        let observed = match service.upstream {
            Some(_) => self.ask_nginx().await.and_then(Result::ok),
            None => None,
        };
        let members = observed.as_ref().and_then(|o| o.served.upstreams.get(&service.name));
        Ok(Explanation {
            instance: views::instance(&view, service.slots, members),
            since_s: now.saturating_duration_since(view.since).as_secs_f64(),
            why: explain::why(&view, &service, &chart, now),
            checks: explain::checks(&service, &chart, now),
        })
    }

    fn service_of(&self, id: &InstanceId) -> Answer<Arc<Service>> {
        match (self.engine.crew(&id.service), &self.nginx, &self.config.now().nginx) {
            (Ok(crew), ..) => Ok(Arc::clone(&crew.service)),
            (Err(_), Some(nginx), Some(settings)) => {
                Ok(Arc::new(managed_nginx::service(id.service.clone(), nginx, settings)))
            }
            (Err(_), ..) => Err(problems::no_instance(id, None)),
        }
    }

    /// The owned file, and what nginx answers.
    pub(super) async fn nginx_file(&self) -> Option<NginxFile> {
        let config = self.config.now();
        let settings = config.nginx.as_ref()?;
        let status = self.nginx_status(self.ask_nginx().await?);
        let text = tokio::fs::read_to_string(&settings.file).await.ok();
        Some(NginxFile { path: settings.file.display().to_string(), text, status })
    }

    async fn ask_nginx(&self) -> Option<Result<Observed, String>> {
        let nginx = self.nginx.as_ref()?;
        Some(nginx.observe().await.map_err(|e| e.to_string()))
    }

    fn service(&self, crew: &Crew, served: Option<&Edited>) -> ServiceStatus {
        let name = &crew.service.name;
        let members = served.and_then(|served| served.upstreams.get(name));
        ServiceStatus {
            name: name.to_string(),
            enabled: !self.disabled.has(name),
            instances: crew
                .instances
                .values()
                .map(|instance| views::instance(&instance.view(), crew.service.slots, members))
                .collect(),
            rollout: self.engine.under_way(name).map(|r| views::rollout(&r, views::now())),
            waits: self.waits.of(name).filter(|_| is_down(crew)),
        }
    }

    fn nginx_status(&self, observed: Result<Observed, String>) -> NginxStatus {
        match observed {
            Ok(observed) => NginxStatus {
                answers: true,
                edition: Some(observed.served.edition.0),
                master: Some(observed.master),
                workers: observed.workers.len(),
                leaving: observed.leaving.len(),
                problem: self.nginx.as_ref().and_then(|nginx| nginx.problem_of(&observed)),
            },
            Err(problem) => NginxStatus {
                answers: false,
                edition: None,
                master: None,
                workers: 0,
                leaving: 0,
                problem: Some(problem),
            },
        }
    }
}

/// Nothing of it runs: whoever was started by hand waits no more.
fn is_down(crew: &Crew) -> bool {
    crew.instances.values().all(|instance| !instance.view().phase.is_up())
}
