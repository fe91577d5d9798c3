//! Map names, what they say about a map, and who may touch it.

/// What a map holds, judged by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// `public:ccf.gov.*`: governance.
    Governance,
    /// `public:ccf.internal.*`: written by the node itself.
    Internal,
    /// Any other `public:` map of the application.
    PublicApplication,
    /// A private map of the application.
    PrivateApplication,
    /// Other names that start with `ccf.`, with or without `public:`: nobody's.
    Reserved,
}

/// In whose name code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// An endpoint that may write.
    Application,
    /// An endpoint whose mode is read-only or historical.
    ReadOnlyApplication,
    /// `validate`, `resolve` and ballots: before a proposal is accepted.
    ReadOnlyGovernance,
    /// `apply`: after it is accepted.
    ReadWriteGovernance,
    /// The node itself.
    Node,
}

/// What may be done with a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads and writes.
    ReadWrite,
    /// Reads.
    ReadOnly,
    /// Writes, but no reads: governance may install application state without being able to depend on it.
    WriteOnly,
    /// Nothing.
    None,
}

/// A name that no map can have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    /// The name is empty, or longer than [`MAX_NAME_BYTES`].
    #[error("map name has {0} bytes: expected 1 to {MAX_NAME_BYTES}")]
    Length(usize),
}

/// Longest map name. CCF sets none; names come from application code, and each is kept for ever.
pub const MAX_NAME_BYTES: usize = 4096;

/// Sorts a map by its name.
///
/// # Errors
/// [`NameError::Length`] for an empty or overlong name.
pub fn namespace(name: &str) -> Result<Namespace, NameError> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(NameError::Length(name.len()));
    }
    let (public, bare) = match name.strip_prefix("public:") {
        Some(bare) => (true, bare),
        None => (false, name),
    };
    Ok(match (public, bare.starts_with("ccf.")) {
        (true, true) if bare.starts_with("ccf.gov.") => Namespace::Governance,
        (true, true) if bare.starts_with("ccf.internal.") => Namespace::Internal,
        (_, true) => Namespace::Reserved,
        (true, false) => Namespace::PublicApplication,
        (false, false) => Namespace::PrivateApplication,
    })
}

/// What `context` may do with maps of `namespace` (CCF: read/write restrictions).
#[must_use]
pub fn permitted(context: Context, namespace: Namespace) -> Access {
    use Namespace::{Governance, Internal, PrivateApplication, PublicApplication, Reserved};
    match (context, namespace) {
        (Context::Node, _) => Access::ReadWrite,
        (_, Reserved) => Access::None,
        (Context::Application | Context::ReadOnlyApplication, Governance | Internal)
        | (Context::ReadOnlyApplication, PublicApplication | PrivateApplication)
        | (Context::ReadOnlyGovernance, Governance | Internal)
        | (Context::ReadWriteGovernance, Internal) => Access::ReadOnly,
        (Context::Application, PublicApplication | PrivateApplication)
        | (Context::ReadWriteGovernance, Governance) => Access::ReadWrite,
        (Context::ReadWriteGovernance, PublicApplication) => Access::WriteOnly,
        (Context::ReadOnlyGovernance, PublicApplication | PrivateApplication)
        | (Context::ReadWriteGovernance, PrivateApplication) => Access::None,
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_by_prefix() {
        for (name, expected) in [
            ("public:ccf.gov.members.info", Namespace::Governance),
            ("public:ccf.internal.tree", Namespace::Internal),
            ("public:ccf.other", Namespace::Reserved),
            ("ccf.gov.secret", Namespace::Reserved),
            ("public:records", Namespace::PublicApplication),
            ("records", Namespace::PrivateApplication),
            ("public:", Namespace::PublicApplication),
        ] {
            assert_eq!(namespace(name), Ok(expected), "{name}");
        }
        assert_eq!(namespace(""), Err(NameError::Length(0)));
    }

    #[test]
    fn approval_decides_what_governance_may_write() {
        assert_eq!(permitted(Context::ReadOnlyGovernance, Namespace::Governance), Access::ReadOnly);
        assert_eq!(permitted(Context::ReadWriteGovernance, Namespace::Governance), Access::ReadWrite);
        assert_eq!(permitted(Context::ReadWriteGovernance, Namespace::PublicApplication), Access::WriteOnly);
        assert_eq!(permitted(Context::Application, Namespace::Governance), Access::ReadOnly);
        assert_eq!(permitted(Context::Application, Namespace::Reserved), Access::None);
    }
}
