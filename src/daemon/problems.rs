//! What the control socket says of what could not be done.

use super::order::Hold;
use crate::{
    api::types::{Problem, ProblemCode},
    deploy::DeployError,
    ident::{InstanceId, RolloutId, ServiceName},
    job::JobError,
    release::UploadError,
    rollout::{Crew, EngineError},
    store::StoreError,
};

pub(super) fn of_engine(error: &EngineError) -> Problem {
    let (code, hint) = match error {
        EngineError::NoService(_) => {
            (ProblemCode::NotFound, Some("`aibkctl status` lists every service".to_owned()))
        }
        EngineError::NoRollout(_) => {
            (ProblemCode::NotFound, Some("`aibkctl rollouts` lists the last ones".to_owned()))
        }
        EngineError::Busy(_) | EngineError::Store(StoreError::Busy(_)) => {
            (ProblemCode::Busy, Some("wait for it, or `aibkctl cancel` it, by its id".to_owned()))
        }
        EngineError::Refused(refusal) => (ProblemCode::Refused, Some(refusal.hint())),
        EngineError::TooLate(id, _) => {
            (ProblemCode::Refused, Some(format!("`aibkctl wait {id}` tells how it ends")))
        }
        EngineError::NoRelease(_) | EngineError::Ending => (ProblemCode::Refused, None),
        EngineError::Preflight(_) => {
            (ProblemCode::Refused, Some("nothing was changed; mend it, then try again".to_owned()))
        }
        EngineError::Nginx(_) => {
            (ProblemCode::Failed, Some("`aibkctl nginx test` shows what nginx says".to_owned()))
        }
        EngineError::Store(_) | EngineError::Unreadable(..) => (ProblemCode::Failed, None),
    };
    Problem { code, message: error.to_string(), hint }
}

pub(super) fn of_deploy(error: &DeployError) -> Problem {
    let (code, hint) = match error {
        DeployError::Rollout(error) => return of_engine(error),
        DeployError::Backup(error) => return super::backups::problem(error),
        DeployError::NoApp(_) => {
            (ProblemCode::NotFound, Some("`aibkctl releases list` knows them".to_owned()))
        }
        DeployError::NoSource(app) => (
            ProblemCode::Refused,
            Some(format!(
                "say `source: {{git: URL}}` below apps.{app}, or send an archive with `--archive`"
            )),
        ),
        DeployError::Busy(_) | DeployError::Store(StoreError::Busy(_)) => {
            (ProblemCode::Busy, Some("wait for it, or `aibkctl cancel` it, by its id".to_owned()))
        }
        DeployError::TooLate(id, _) => {
            (ProblemCode::Refused, Some(format!("`aibkctl wait {id}` tells how it ends")))
        }
        DeployError::NoRelease(_) | DeployError::Ending => (ProblemCode::Refused, None),
        DeployError::Store(_)
        | DeployError::Unreadable(..)
        | DeployError::NoOutput(_)
        | DeployError::Unseen(_) => (ProblemCode::Failed, None),
    };
    Problem { code, message: error.to_string(), hint }
}

pub(super) fn of_upload(error: &UploadError) -> Problem {
    let (code, hint) = match error {
        UploadError::TooLarge => (ProblemCode::TooLarge, Some("leave out what is not code")),
        UploadError::NoRoom(_) => (ProblemCode::Refused, Some("make room, then send it again")),
        UploadError::Empty => (ProblemCode::BadRequest, Some("send a .tar or .tar.gz")),
        UploadError::Untrusted(_) => (ProblemCode::Refused, None),
        UploadError::Slow { .. } | UploadError::File(_) => (ProblemCode::Failed, None),
    };
    Problem { code, message: error.to_string(), hint: hint.map(str::to_owned) }
}

pub(super) fn no_deploy(id: RolloutId) -> Problem {
    Problem {
        code: ProblemCode::NotFound,
        message: format!("there is no deploy {id}"),
        hint: Some("`aibkctl rollouts` lists the last ones".to_owned()),
    }
}

pub(super) fn refused(message: &str, hint: Option<String>) -> Problem {
    Problem { code: ProblemCode::Refused, message: message.to_owned(), hint }
}

pub(super) fn held(service: &ServiceName, hold: &Hold) -> Problem {
    let hint = format!("start {} first; `aibkctl status` shows how it is", hold.on);
    refused(&format!("{service} cannot be started: {hold}"), Some(hint))
}

pub(super) fn is_job(name: &ServiceName) -> Problem {
    let hint = format!("`aibkctl run {name}` runs it now, `aibkctl stop {name}` stops that");
    refused(&format!("{name} is a job: it runs to its end, and is not kept running"), Some(hint))
}

pub(super) fn no_job(name: &ServiceName) -> Problem {
    let hint = "`aibkctl status` lists every job".to_owned();
    Problem {
        code: ProblemCode::NotFound,
        message: format!("there is no job {name}"),
        hint: Some(hint),
    }
}

pub(super) fn no_run(id: u64) -> Problem {
    let hint = "`aibkctl runs JOB` lists the last ones".to_owned();
    let message = format!("there is no run {id}");
    Problem { code: ProblemCode::NotFound, message, hint: Some(hint) }
}

pub(super) fn of_job(error: &JobError) -> Problem {
    let (code, hint) = match error {
        JobError::Busy { job, .. } => {
            (ProblemCode::Busy, Some(format!("`aibkctl logs -f {job}` shows what it does")))
        }
        JobError::Idle(job) => {
            (ProblemCode::Refused, Some(format!("`aibkctl runs {job}` shows its last runs")))
        }
        JobError::Ending(_) | JobError::Leaving(_) => (ProblemCode::Refused, None),
        JobError::Store(..) | JobError::NotStopped(..) => (ProblemCode::Failed, None),
    };
    Problem { code, message: error.to_string(), hint }
}

pub(super) fn failed(message: &str) -> Problem {
    Problem { code: ProblemCode::Failed, message: message.to_owned(), hint: None }
}

pub(super) fn bad_request(message: String) -> Problem {
    Problem { code: ProblemCode::BadRequest, message, hint: None }
}

pub(super) fn bad_pattern(why: &str) -> Problem {
    let hint = "put `\\` before a character that is to mean itself";
    Problem { code: ProblemCode::BadRequest, message: why.to_owned(), hint: Some(hint.to_owned()) }
}

/// Of a reload: `service` could not be changed, so nothing was.
pub(super) fn of_reload(service: &ServiceName, error: &EngineError) -> Problem {
    let problem = of_engine(error);
    let hint = match error {
        EngineError::Refused(_) => Some(format!(
            "give {service} a second slot, or accept lost requests with \
             `aibkctl daemon-reload --force`"
        )),
        _ => problem.hint,
    };
    let message = format!("{service}: {}; nothing was changed", problem.message);
    Problem { message, hint, ..problem }
}

pub(super) fn gap(service: &ServiceName) -> Problem {
    let hint = "`aibkctl daemon-reload --force` accepts that; a service of another name, and then \
                the removal of this one, loses nothing";
    let message = format!(
        "{service} would listen elsewhere, where nginx cannot reach the old beside the new: \
         requests would be lost; nothing was changed"
    );
    refused(&message, Some(hint.to_owned()))
}

pub(super) fn fixed(keys: &[&str]) -> Problem {
    let message = format!("a running aibkd cannot change {}; nothing was changed", keys.join(", "));
    let hint = "restart aibkd for it (`systemctl restart aibkd`)";
    refused(&message, Some(hint.to_owned()))
}

pub(super) fn coming_up() -> Problem {
    let hint = "try again in a moment; `aibkctl status` shows how far it is";
    refused("aibkd is still coming up", Some(hint.to_owned()))
}

pub(super) fn not_behind_nginx(service: &ServiceName) -> Problem {
    Problem {
        code: ProblemCode::NotFound,
        message: format!("there is no service {service} behind nginx"),
        hint: Some("`aibkctl status` shows every service".to_owned()),
    }
}

pub(super) fn no_nginx() -> Problem {
    Problem {
        code: ProblemCode::NotFound,
        message: "aibk drives no nginx here".to_owned(),
        hint: Some("add an `nginx` section to the configuration".to_owned()),
    }
}

/// `of` is its service, where there is one.
pub(super) fn no_instance(id: &InstanceId, of: Option<&Crew>) -> Problem {
    let hint = of.map_or_else(
        || "`aibkctl status` lists every instance".to_owned(),
        |crew| {
            let names: Vec<_> = crew.instances.values().map(|i| format!("`{}`", i.id())).collect();
            format!("{} has {}", id.service, names.join(" and "))
        },
    );
    Problem {
        code: ProblemCode::NotFound,
        message: format!("there is no instance `{id}`"),
        hint: Some(hint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::RolloutId;

    #[test]
    fn a_service_that_is_held_is_busy_whoever_found_out() {
        let found_by_store = of_engine(&EngineError::Store(StoreError::Busy(RolloutId(7))));
        let found_by_engine = of_engine(&EngineError::Busy("api is held by rollout 7".to_owned()));
        assert_eq!(found_by_store.code, ProblemCode::Busy);
        assert_eq!(found_by_store.hint, found_by_engine.hint);
        assert!(found_by_store.message.contains("rollout 7"), "{}", found_by_store.message);
    }
}
