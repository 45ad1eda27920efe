//! Sets of labels, each with its names in the order of the documentation.

use std::fmt::{self, Debug};

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};

/// What a family is split by.
pub trait Labels: EncodeLabelSet + Debug + Clone + Ord + Send + Sync + 'static {
    /// Names of the labels.
    const NAMES: &'static [&'static str];
}

/// No labels: a family with one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whole;

impl Labels for Whole {
    const NAMES: &'static [&'static str] = &[];
}

impl EncodeLabelSet for Whole {
    fn encode(&self, _: &mut LabelSetEncoder<'_>) -> fmt::Result {
        Ok(())
    }
}

/// Defines sets of labels: the name that is written, the field, its type.
macro_rules! labels {
    ($($(#[$doc:meta])* $set:ident { $($(#[$field_doc:meta])* $name:literal => $field:ident: $type:ty),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $set {
            $($(#[$field_doc])* pub $field: $type,)+
        }

        impl prometheus_client::encoding::EncodeLabelSet for $set {
            fn encode(&self, encoder: &mut prometheus_client::encoding::LabelSetEncoder<'_>) -> std::fmt::Result {
                use prometheus_client::encoding::EncodeLabel as _;
                $(($name, &self.$field.to_string()).encode(encoder.encode_label())?;)+
                Ok(())
            }
        }

        impl $crate::telemetry::labels::Labels for $set {
            const NAMES: &'static [&'static str] = &[$($name),+];
        }
    )+};
}
pub(super) use labels;
