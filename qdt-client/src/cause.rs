//! An error of any type inside values that are cloned and compared.

use std::{error::Error, fmt, sync::Arc};

/// An error of the host or the packet worker. Two are equal where their texts are equal.
#[derive(Debug, Clone)]
pub struct Cause(Arc<dyn Error + Send + Sync>);

impl Cause {
    /// Wraps an error, or a text as one.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::from(error.into()))
    }
}

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for Cause {}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests {
    use qdt_host::{LinkError, TunError};

    use super::Cause;

    #[test]
    fn a_cause_is_the_error_itself_and_equals_one_of_the_same_text() {
        let interface = "qdt0".to_owned();
        let cause = Cause::new(LinkError::Missing { interface });
        assert!(matches!(
            cause.0.downcast_ref(),
            Some(LinkError::Missing { .. })
        ));
        assert!(cause.0.downcast_ref::<TunError>().is_none());
        assert_eq!(cause, Cause::new("interface `qdt0` does not exist"));
        assert_ne!(cause, Cause::new("interface `qdt1` does not exist"));
    }
}
