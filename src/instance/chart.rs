//! What is remembered of the answers of an instance, for whoever asks why it is as it is.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{life::Question, probe::Verdict};
use crate::ident::Generation;

/// How many answers to each question are remembered.
const KEPT: usize = 10;

/// The last answers of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chart {
    answers: [VecDeque<Answer>; 3],
}

/// Where the chart of an instance hangs for everybody to see. Clones are the same place.
#[derive(Debug, Clone, Default)]
pub(super) struct Board(Arc<Mutex<Arc<Chart>>>);

impl Board {
    /// What hangs there.
    pub(super) fn chart(&self) -> Arc<Chart> {
        Arc::clone(&self.lock())
    }

    pub(super) fn hang(&self, chart: Chart) {
        *self.lock() = Arc::new(chart);
    }

    pub(super) fn note(&self, question: Question, answer: Answer) {
        Arc::make_mut(&mut self.lock()).note(question, answer);
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Chart>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Which start was asked.
    pub generation: Generation,
    /// When it was there.
    pub at: Instant,
    /// How long it took.
    pub took: Duration,
    /// What was seen, or what speaks against the instance.
    pub verdict: Verdict,
}

impl Chart {
    /// The last answers to `question`, oldest first.
    #[must_use]
    pub fn answers(&self, question: Question) -> impl DoubleEndedIterator<Item = &Answer> {
        let [startup, ready, live] = &self.answers;
        match question {
            Question::Startup => startup.iter(),
            Question::Ready => ready.iter(),
            Question::Live => live.iter(),
        }
    }

    /// The last answers of several processes.
    pub(super) fn merged(charts: &[Arc<Self>]) -> Self {
        let mut merged = Self::default();
        for question in Question::ALL {
            let mut all: Vec<&Answer> =
                charts.iter().flat_map(|chart| chart.answers(question)).collect();
            all.sort_by_key(|answer| answer.at);
            for answer in all {
                merged.note(question, answer.clone());
            }
        }
        merged
    }

    pub(super) fn note(&mut self, question: Question, answer: Answer) {
        let [startup, ready, live] = &mut self.answers;
        let kept = match question {
            Question::Startup => startup,
            Question::Ready => ready,
            Question::Live => live,
        };
        if kept.len() >= KEPT {
            kept.pop_front();
        } else if kept.is_empty() {
            // Most processes that are not asked give one answer, and room would be made for four.
            kept.reserve_exact(1);
        }
        kept.push_back(answer);
    }
}
