//! CBOR and COSE.
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyInt, PyList, PyString, PyTuple};
use tallystick_core::cbor::{
    self, Map, Value, encode_bool, encode_bytes, encode_head, encode_null, encode_text, major,
};
use tallystick_core::cose::{CoseError, CoseSign1 as CoreSign1};
use tallystick_core::limits::MAX_NESTING;

use crate::error::coded;

fn cbor_error(py: Python<'_>, error: &cbor::CborError) -> PyErr {
    coded(py, error, Some(error.offset() as u64))
}

pub(crate) fn cose_error(py: Python<'_>, error: &CoseError) -> PyErr {
    coded(py, error, error.offset().map(|offset| offset as u64))
}

#[pyclass(frozen, module = "tallystick._native")]
pub(crate) struct CborTag {
    #[pyo3(get)]
    tag: u64,
    #[pyo3(get)]
    value: Py<PyAny>,
}

#[pymethods]
impl CborTag {
    #[new]
    fn new(tag: u64, value: Py<PyAny>) -> Self {
        Self { tag, value }
    }

    fn __eq__(&self, py: Python<'_>, other: &Self) -> PyResult<bool> {
        Ok(self.tag == other.tag && self.value.bind(py).eq(other.value.bind(py))?)
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        (self.tag, self.value.bind(py)).into_pyobject(py)?.hash()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("CborTag({}, {})", self.tag, self.value.bind(py).repr()?))
    }
}

/// Nesting is bounded by the decoder.
fn to_py<'py>(py: Python<'py>, value: &Value<'_>) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Unsigned(number) => number.into_pyobject(py)?.into_any(),
        Value::Negative(number) => (-1 - i128::from(*number)).into_pyobject(py)?.into_any(),
        Value::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
        Value::Text(text) => PyString::new(py, text).into_any(),
        Value::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(to_py(py, item)?)?;
            }
            list.into_any()
        }
        Value::Map(map) => map_to_py(py, map)?.into_any(),
        Value::Tag(tag, value) => {
            Bound::new(py, CborTag { tag: *tag, value: to_py(py, value)?.unbind() })?.into_any()
        }
        Value::Bool(value) => PyBool::new(py, *value).to_owned().into_any(),
        Value::Null => py.None().into_bound(py),
    })
}

fn map_to_py<'py>(py: Python<'py>, map: &Map<'_>) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (key, value) in map {
        dict.set_item(to_py(py, key)?, to_py(py, value)?)?;
    }
    Ok(dict)
}

fn encode(out: &mut Vec<u8>, value: &Bound<'_, PyAny>, depth: usize) -> PyResult<()> {
    if depth > MAX_NESTING {
        return Err(PyValueError::new_err(format!("CBOR: expected at most {MAX_NESTING} levels of nesting")));
    }
    if value.is_none() {
        encode_null(out);
    } else if let Ok(flag) = value.cast::<PyBool>() {
        encode_bool(out, flag.is_true());
    } else if value.is_instance_of::<PyInt>() {
        encode_integer(out, value)?;
    } else if let Ok(bytes) = value.cast::<PyBytes>() {
        encode_bytes(out, bytes.as_bytes());
    } else if let Ok(text) = value.cast::<PyString>() {
        encode_text(out, &text.to_cow()?);
    } else if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        encode_head(out, major::ARRAY, value.len()? as u64);
        for item in value.try_iter()? {
            encode(out, &item?, depth + 1)?;
        }
    } else if let Ok(dict) = value.cast::<PyDict>() {
        encode_head(out, major::MAP, dict.len() as u64);
        for (key, value) in dict {
            let is_key = !key.is_instance_of::<PyBool>()
                && (key.is_instance_of::<PyInt>()
                    || key.is_instance_of::<PyString>()
                    || key.is_instance_of::<PyBytes>());
            if !is_key {
                let message =
                    format!("CBOR: expected an int, str or bytes as key, got {}", key.get_type().name()?);
                return Err(PyTypeError::new_err(message));
            }
            encode(out, &key, depth + 1)?;
            encode(out, &value, depth + 1)?;
        }
    } else if let Ok(tag) = value.cast::<CborTag>() {
        encode_head(out, major::TAG, tag.get().tag);
        encode(out, tag.get().value.bind(value.py()), depth + 1)?;
    } else {
        let message = format!("CBOR: expected a value of the formats, got {}", value.get_type().name()?);
        return Err(PyTypeError::new_err(message));
    }
    Ok(())
}

fn encode_integer(out: &mut Vec<u8>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let number: i128 = value.extract()?;
    let (major_type, argument) =
        if number < 0 { (major::NEGATIVE, -1 - number) } else { (major::UNSIGNED, number) };
    let argument = u64::try_from(argument)
        .map_err(|_| PyValueError::new_err(format!("CBOR: expected an integer of 64 bits, got {number}")))?;
    encode_head(out, major_type, argument);
    Ok(())
}

#[pyfunction]
fn cbor_decode<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    to_py(py, &cbor::decode(data).map_err(|error| cbor_error(py, &error))?)
}

#[pyfunction]
fn cbor_encode<'py>(py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let mut out = Vec::new();
    encode(&mut out, value, 0)?;
    Ok(PyBytes::new(py, &out))
}

#[pyclass(frozen, module = "tallystick._native")]
pub(crate) struct CoseSign1 {
    data: Py<PyBytes>,
}

impl CoseSign1 {
    /// `data` must have been parsed before.
    pub(crate) fn of_parsed(data: Py<PyBytes>) -> Self {
        Self { data }
    }

    /// Parsing costs less than keeping a second copy of every header would.
    fn parsed<'a>(&'a self, py: Python<'a>) -> PyResult<CoreSign1<'a>> {
        CoreSign1::parse(self.data.as_bytes(py)).map_err(|error| cose_error(py, &error))
    }
}

#[pymethods]
impl CoseSign1 {
    #[staticmethod]
    fn parse(data: &Bound<'_, PyBytes>) -> PyResult<Self> {
        CoreSign1::parse(data.as_bytes()).map_err(|error| cose_error(data.py(), &error))?;
        Ok(Self { data: data.clone().unbind() })
    }

    #[getter]
    fn tagged(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.parsed(py)?.tagged)
    }

    #[getter]
    fn protected<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, self.parsed(py)?.protected))
    }

    #[getter]
    fn protected_headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        map_to_py(py, &self.parsed(py)?.protected_headers)
    }

    #[getter]
    fn unprotected_headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        map_to_py(py, &self.parsed(py)?.unprotected_headers)
    }

    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        Ok(self.parsed(py)?.payload.map(|payload| PyBytes::new(py, payload)))
    }

    #[getter]
    fn signature<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, self.parsed(py)?.signature))
    }

    #[getter]
    fn algorithm(&self, py: Python<'_>) -> PyResult<Option<i64>> {
        Ok(self.parsed(py)?.algorithm())
    }

    #[pyo3(signature = (detached_payload = None))]
    fn signed_bytes<'py>(
        &self,
        py: Python<'py>,
        detached_payload: Option<&[u8]>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let signed =
            self.parsed(py)?.signed_bytes(detached_payload).map_err(|error| cose_error(py, &error))?;
        Ok(PyBytes::new(py, &signed))
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<CborTag>()?;
    module.add_class::<CoseSign1>()?;
    module.add_function(wrap_pyfunction!(cbor_decode, module)?)?;
    module.add_function(wrap_pyfunction!(cbor_encode, module)?)
}
