//! The request that a handler is called with, and the answer that it returns.
use bytes::Bytes;
use rquickjs::{Array, Ctx, Error, IntoJs, Object, Result, Value, qjs};

use crate::api::{new_buffer, new_text, text_bytes};

/// A value to hand to a script.
#[derive(Clone, Debug)]
pub enum Data {
    /// `null`.
    Null,
    /// Text.
    Text(String),
    /// JSON text to be parsed.
    Json(String),
    /// An `ArrayBuffer`.
    Bytes(Bytes),
    /// An array.
    List(Vec<Data>),
    /// An object.
    Object(Vec<(String, Data)>),
}

impl Data {
    fn to_js<'js>(&self, ctx: &Ctx<'js>) -> Result<Value<'js>> {
        match self {
            Self::Null => Ok(Value::new_null(ctx.clone())),
            Self::Text(text) => new_text(ctx, text),
            Self::Json(text) => ctx.json_parse(text.as_str()),
            Self::Bytes(bytes) => new_buffer(ctx, bytes),
            Self::List(items) => {
                let array = Array::new(ctx.clone())?;
                for (index, item) in items.iter().enumerate() {
                    array.set(index, item.to_js(ctx)?)?;
                }
                Ok(array.into_value())
            }
            Self::Object(members) => {
                let object = Object::new(ctx.clone())?;
                for (name, value) in members {
                    object.set(name.as_str(), value.to_js(ctx)?)?;
                }
                Ok(object.into_value())
            }
        }
    }
}

/// A request, as the handler is to see it.
#[derive(Clone, Debug)]
pub struct AppRequest {
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    /// Query, URL-decoded, without `?`.
    pub query: String,
    /// Path as sent.
    pub path: String,
    /// The verb.
    pub method: String,
    /// `Host` header.
    pub hostname: Option<String>,
    /// Template that matched.
    pub route: String,
    /// Path with query, as sent.
    pub url: String,
    /// Values of the template's names.
    pub params: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// Who calls.
    pub caller: Data,
}

impl AppRequest {
    /// The `request` object, with `body` as its body.
    pub(super) fn to_js<'js>(&self, ctx: &Ctx<'js>, body: Object<'js>) -> Result<Object<'js>> {
        let request = Object::new(ctx.clone())?;
        request.set("headers", text_object(ctx, &self.headers)?)?;
        request.set("query", self.query.as_str())?;
        request.set("path", self.path.as_str())?;
        request.set("method", self.method.as_str())?;
        let hostname = match &self.hostname {
            Some(hostname) => new_text(ctx, hostname)?,
            None => Value::new_null(ctx.clone()),
        };
        request.set("hostname", hostname)?;
        request.set("route", self.route.as_str())?;
        request.set("url", self.url.as_str())?;
        request.set("params", text_object(ctx, &self.params)?)?;
        request.set("body", body)?;
        request.set("caller", self.caller.to_js(ctx)?)?;
        Ok(request)
    }
}

fn text_object<'js>(ctx: &Ctx<'js>, members: &[(String, String)]) -> Result<Object<'js>> {
    let object = Object::new(ctx.clone())?;
    for (name, value) in members {
        object.set(name.as_str(), value.as_str())?;
    }
    Ok(object)
}

/// What a handler answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppReply {
    /// Status code.
    pub status: i32,
    /// Headers that the handler set, in its order.
    pub headers: Vec<(String, String)>,
    /// Content type that follows from the body, unless a header overrides it.
    pub content_type: Option<&'static str>,
    /// The body.
    pub body: Vec<u8>,
}

/// Which part of a returned value could not be used.
pub(super) struct BadReply {
    pub(super) message: &'static str,
    pub(super) error: Option<Error>,
}

fn bad(message: &'static str) -> impl FnOnce(Error) -> BadReply {
    move |error| BadReply { message, error: Some(error) }
}

/// Reads the returned value.
pub(super) fn read_reply<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> std::result::Result<AppReply, BadReply> {
    const NOT_AN_OBJECT: &str = "Invalid endpoint function return value (not an object).";
    let object = value.as_object().ok_or(BadReply { message: NOT_AN_OBJECT, error: None })?;
    let mut reply = AppReply { status: 200, ..AppReply::default() };
    let body: Value<'js> =
        object.get("body").map_err(bad("Invalid endpoint function return value (error reading body)."))?;
    if !body.is_undefined() {
        (reply.body, reply.content_type) = read_body(ctx, &body)?;
    }
    let in_headers = "Invalid endpoint function return value (header value type).";
    let headers: Value<'js> = object.get("headers").map_err(bad(in_headers))?;
    if let Some(headers) = headers.as_object() {
        for name in headers.keys::<String>() {
            let name = name.map_err(bad(in_headers))?;
            let value: rquickjs::Coerced<String> = headers.get(name.as_str()).map_err(bad(in_headers))?;
            reply.headers.push((name, value.0));
        }
    }
    const STATUS: &str = "Invalid endpoint function return value (status code type).";
    let status: Value<'js> = object.get("statusCode").map_err(bad(STATUS))?;
    if !status.is_undefined() && !status.is_null() {
        reply.status = whole_number(&status).ok_or(BadReply { message: STATUS, error: None })?;
    }
    Ok(reply)
}

/// A whole number, however the engine keeps it: what `JSON.parse` reads is a floating-point one, `200` in a script is not.
fn whole_number(value: &Value<'_>) -> Option<i32> {
    if let Some(number) = value.as_int() {
        return Some(number);
    }
    let number = value.as_float()?;
    if number.fract() != 0.0 || number < f64::from(i32::MIN) || number > f64::from(i32::MAX) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole, and within the bounds of an i32")]
    let whole = number as i32;
    Some(whole)
}

fn read_body<'js>(
    ctx: &Ctx<'js>,
    body: &Value<'js>,
) -> std::result::Result<(Vec<u8>, Option<&'static str>), BadReply> {
    if let Some(bytes) = view_bytes(ctx, body) {
        return Ok((bytes, Some("application/octet-stream")));
    }
    if let Some(text) = body.as_string() {
        const TEXT: &str = "Invalid endpoint function return value (error during string conversion of body).";
        let text = text_bytes(ctx, text).map_err(bad(TEXT))?;
        return Ok((text, Some("text/plain")));
    }
    const JSON: &str = "Invalid endpoint function return value (error during JSON conversion of body).";
    let json = ctx.json_stringify(body.clone()).map_err(bad(JSON))?;
    let json = json.ok_or(BadReply { message: JSON, error: None })?;
    let text = text_bytes(ctx, &json).map_err(bad(JSON))?;
    Ok((text, Some("application/json")))
}

/// The bytes of an `ArrayBuffer` or of the part of one that a typed array shows.
fn view_bytes<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> Option<Vec<u8>> {
    let object = value.as_object()?;
    // SAFETY: the value is alive. Asking in any other way leaves an exception behind.
    if unsafe { qjs::JS_IsArrayBuffer(value.as_raw()) } {
        let buffer = object.as_array_buffer()?;
        // SAFETY: the slice is copied at once; no script runs while it is borrowed.
        return unsafe { buffer.as_bytes() }.map(<[u8]>::to_vec);
    }
    // SAFETY: the value is alive.
    if unsafe { qjs::JS_GetTypedArrayType(value.as_raw()) } < 0 {
        return None;
    }
    let (mut offset, mut length, mut width) = (0, 0, 0);
    // SAFETY: the context and the value are alive; the answer is a value of this context, owned here.
    let buffer = unsafe {
        let raw = qjs::JS_GetTypedArrayBuffer(
            ctx.as_raw().as_ptr(),
            value.as_raw(),
            &raw mut offset,
            &raw mut length,
            &raw mut width,
        );
        Value::from_raw(ctx.clone(), raw)
    };
    if ctx.has_exception() {
        drop(ctx.catch());
        return None;
    }
    let buffer = buffer.into_object()?;
    let buffer = buffer.as_array_buffer()?;
    // SAFETY: as above.
    let bytes = unsafe { buffer.as_bytes() }?;
    // A view may outlive a resize of its buffer: what is no longer there is not shown.
    let start = usize::try_from(offset).ok()?.min(bytes.len());
    let end = start.saturating_add(usize::try_from(length).ok()?).min(bytes.len());
    bytes.get(start..end).map(<[u8]>::to_vec)
}

impl<'js> IntoJs<'js> for &Data {
    fn into_js(self, ctx: &Ctx<'js>) -> Result<Value<'js>> {
        self.to_js(ctx)
    }
}
