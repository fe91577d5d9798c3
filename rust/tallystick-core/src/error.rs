//! What every error of this crate has in common: a stable code that programs can match.

/// An error with a stable kebab-case code, the same word that findings and Python exceptions carry.
pub trait Coded: std::error::Error {
    /// The stable code, for example `entry-truncated`.
    fn code(&self) -> &'static str;
    /// Whether a limit of ours stopped the work, so that the input was neither accepted nor refuted.
    fn is_limit(&self) -> bool {
        false
    }
}
