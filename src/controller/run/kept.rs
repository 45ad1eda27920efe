//! The savings as the status of the policy keeps them, and back.

use crate::kube::crd::{DeferredTime, ModelSavings, SavingsStatus};
use crate::savings::Kept;

/// The books for whoever writes them down.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counted {
    /// Since when is counted, where an earlier leader has begun.
    pub(super) since: Option<String>,
    pub(super) models: Vec<Kept>,
}

impl Counted {
    /// As it is written; `moment` is when this process began to count.
    pub(super) fn status(&self, moment: &str) -> SavingsStatus {
        let since = self.since.as_deref().unwrap_or(moment).to_owned();
        SavingsStatus { since, models: self.models.iter().map(written).collect() }
    }

    /// As it was written.
    pub(super) fn of(status: SavingsStatus) -> Self {
        let SavingsStatus { since, models } = status;
        Self { since: Some(since), models: models.into_iter().map(read).collect() }
    }
}

fn written(kept: &Kept) -> ModelSavings {
    let Kept { model, elapsed_ms, gpus, first_layouts, peaks, most_needed, most_whole, most_owned, deferred_ms } =
        kept.clone();
    let [current_layout, best_static, whole_gpu] = deferred_ms;
    ModelSavings {
        model,
        elapsed_ms,
        deferred_gpu_ms: DeferredTime { current_layout, best_static, whole_gpu },
        gpus,
        most_gpus: most_owned,
        most_needed,
        most_whole,
        peaks,
        first_layouts,
    }
}

fn read(written: ModelSavings) -> Kept {
    let ModelSavings {
        model,
        elapsed_ms,
        deferred_gpu_ms: DeferredTime { current_layout, best_static, whole_gpu },
        gpus,
        most_gpus,
        most_needed,
        most_whole,
        peaks,
        first_layouts,
    } = written;
    let deferred_ms = [current_layout, best_static, whole_gpu];
    Kept { model, elapsed_ms, gpus, first_layouts, peaks, most_needed, most_whole, most_owned: most_gpus, deferred_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let kept = Kept {
            model: "NVIDIA A100-SXM4-80GB".into(),
            elapsed_ms: 1,
            gpus: 2,
            first_layouts: [("7g.80gb".into(), 3)].into(),
            peaks: [("1g.10gb".into(), 4)].into(),
            most_needed: 5,
            most_whole: 6,
            most_owned: 7,
            deferred_ms: [8, 9, 10],
        };
        let counted = Counted { since: None, models: vec![kept] };
        let status = counted.status("2026-11-28T12:00:00Z");
        let read = Counted::of(status);
        assert_eq!(read.models, counted.models);
        assert_eq!(
            read.status("2027-01-01T00:00:00Z").since,
            "2026-11-28T12:00:00Z",
            "who goes on keeps the beginning"
        );
    }
}
