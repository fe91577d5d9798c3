//! What `ccf.gov.validateConstitution` checks of a text, and the words in which it refuses one.
use rquickjs::{Ctx, Exception, Result, Value};

use crate::engine::{self, Budget, Code, FailureKind};

/// What `ccf.gov.validateConstitution` calls the text that it checks.
const PROPOSED: &str = "proposed constitution";

/// Functions of a constitution, in the order in which they are looked for: parameters that they must have, and one
/// that they may.
const CONSTITUTION_FUNCTIONS: [(&str, &[&str], &[&str]); 3] = [
    ("apply", &["proposal", "proposerId"], &[]),
    ("resolve", &["proposal", "proposerId", "votes"], &["proposalId"]),
    ("validate", &["input"], &[]),
];

fn arguments(count: usize) -> String {
    format!("{count} {}", if count == 1 { "arg" } else { "args" })
}

/// Why there is no such function, in the words that members know from CCF.
fn missing_export(function: &str, failure: &engine::ScriptFailure) -> String {
    match failure.kind {
        FailureKind::Compile => format!("Failed to compile {PROPOSED}: {failure}"),
        FailureKind::Export if failure.message.ends_with("is not a function") => {
            format!("Export '{function}' of module '{PROPOSED}' is not a function")
        }
        FailureKind::Export => format!("Failed to find export '{function}' in module '{PROPOSED}'"),
        _ => format!("Failed to execute {PROPOSED}: {failure}"),
    }
}

/// What `ccf.gov.validateConstitution` checks: three exports with the right number of parameters.
pub(crate) fn validate_constitution<'js>(
    ctx: &Ctx<'js>,
    source: &str,
    budget: &Budget,
) -> Result<Value<'js>> {
    let wrong = |message: String| Err(Exception::throw_type(ctx, &message));
    if source.is_empty() {
        return wrong("constitution is empty".to_owned());
    }
    let code = Code::Source { name: PROPOSED, text: source };
    for (function, parameters, optional) in CONSTITUTION_FUNCTIONS {
        let length = match engine::export_length(budget, code, function) {
            Ok(length) => length,
            Err(failure) => {
                let reason = missing_export(function, &failure);
                return wrong(format!("{PROPOSED} does not export a function named {function}: {reason}"));
            }
        };
        let least = parameters.len();
        if !(least..=least + optional.len()).contains(&length) {
            let expected = match optional.first() {
                None => format!("{} ({})", arguments(least), parameters.join(", ")),
                Some(last) => {
                    let most = arguments(least + optional.len());
                    format!("between {least} and {most} ({}[, {last}])", parameters.join(", "))
                }
            };
            let found = format!("{PROPOSED} exports function {function} with {}", arguments(length));
            return wrong(format!("{found}, expected {expected}"));
        }
    }
    Ok(Value::new_bool(ctx.clone(), true))
}
