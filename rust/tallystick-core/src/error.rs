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

/// Every code that this crate can put on an error or a finding, ascending.
#[must_use]
pub fn all_codes() -> Vec<&'static str> {
    let modules: &[&[&'static str]] = &[
        crate::cbor::CODES,
        crate::cose::CODES,
        crate::json::CODES,
        crate::ledger::chunk::CODES,
        crate::ledger::crypto::CODES,
        crate::ledger::domain::CODES,
        crate::ledger::entry::CODES,
        crate::ledger::writer::CODES,
        crate::merkle::CODES,
        crate::receipt::CODES,
        crate::scan::CODES,
        crate::secrets::CODES,
        crate::signature::CODES,
        crate::sigtx::CODES,
        crate::snapshot::CODES,
        crate::x509::CODES,
    ];
    let mut codes = modules.concat();
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// Implements [`Coded`] from one table of variants and codes, and lists the same codes as `CODES`, so that the
/// list cannot miss one.
macro_rules! coded {
    ($error:ty { $($variant:ident => $code:literal),+ $(,)? } limits { $($limit:ident),* $(,)? }) => {
        impl $crate::error::Coded for $error {
            fn code(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $code,)+
                }
            }
            fn is_limit(&self) -> bool {
                #[allow(unreachable_patterns, reason = "without limits only the wildcard is left")]
                match self {
                    $(Self::$limit { .. } => true,)*
                    _ => false,
                }
            }
        }
        /// The code of every error of this module.
        pub const CODES: &[&str] = &[$($code),+];
    };
}
pub(crate) use coded;
