//! Error bodies in the OData shape that CCF uses.
use http::{StatusCode, header};

use super::Response;

/// An error answer: `{"error":{"code":…,"message":…}}`.
#[must_use]
pub fn odata(status: StatusCode, code: &str, message: &str) -> Response {
    let body = serde_json::json!({ "error": { "code": code, "message": message } }).to_string();
    Response::new(status, body).with(header::CONTENT_TYPE, "application/json")
}
