//! Binding of the HTTP front: requests as Python sees them, and its answers.
use std::collections::HashMap;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tallystick_node::http::{Handler, Request as HttpRequest, Response, odata};

/// A request, as the HTTP front read it.
#[pyclass(frozen, module = "tallystick._native")]
pub(crate) struct NodeRequest {
    request: HttpRequest,
}

#[pymethods]
impl NodeRequest {
    #[getter]
    fn method(&self) -> &str {
        self.request.method.as_str()
    }
    #[getter]
    fn path(&self) -> &str {
        &self.request.path
    }
    #[getter]
    fn query(&self) -> &str {
        &self.request.query
    }
    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.request.body)
    }
    #[getter]
    fn headers(&self) -> HashMap<String, String> {
        let headers = self.request.headers.iter();
        headers
            .map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect()
    }
    #[getter]
    fn interface(&self) -> &str {
        &self.request.session.interface
    }
    #[getter]
    fn session_id(&self) -> u64 {
        self.request.session.id
    }
    #[getter]
    fn client_certificate<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.request.session.client_certificate.as_ref().map(|der| PyBytes::new(py, der))
    }
}

/// Answers requests by calling Python: `handler(request) -> (status, headers, body, close)`.
pub(crate) struct PyHandler(pub(crate) Py<PyAny>);

impl Handler for PyHandler {
    fn handle(&self, request: HttpRequest) -> Response {
        let answered = Python::attach(|py| {
            let answer = self.0.call1(py, (NodeRequest { request },))?;
            answer.extract::<(u16, Vec<(String, String)>, Vec<u8>, bool)>(py)
        });
        match answered {
            Ok((status, headers, body, close)) => {
                let status =
                    http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
                let mut response = Response::new(status, body);
                for (name, value) in headers {
                    if let Ok(name) = http::HeaderName::try_from(name) {
                        response = response.with(name, &value);
                    }
                }
                response.close = close;
                response
            }
            Err(error) => odata(http::StatusCode::INTERNAL_SERVER_ERROR, "InternalError", &error.to_string()),
        }
    }
}
