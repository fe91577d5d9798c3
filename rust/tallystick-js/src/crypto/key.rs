//! Keys of the cryptographic library, owned.
//!
//! The safe crate over the library lacks what scripts may ask for (salt lengths, exponents, numbers of a key),
//! so this module calls the library itself. Every pointer that it returns is checked and owned by one value.
use std::ffi::c_int;
use std::ptr::{self, NonNull};

use aws_lc_sys as sys;

use super::pem;

/// Smallest and largest RSA modulus that scripts may make, bits.
const RSA_BITS: std::ops::RangeInclusive<u32> = 1024..=8192;

/// Why an operation gave no result: words for the script.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CryptoError(pub(crate) &'static str);

pub(super) type Result<T> = std::result::Result<T, CryptoError>;

/// Makes an owner of a pointer of the library, with the function that frees it.
macro_rules! owned {
    ($name:ident, $of:ty, $free:path) => {
        pub(super) struct $name(NonNull<$of>);
        impl $name {
            pub(super) fn own(pointer: *mut $of, why: &'static str) -> Result<Self> {
                NonNull::new(pointer).map(Self).ok_or(CryptoError(why))
            }
            pub(super) fn as_ptr(&self) -> *mut $of {
                self.0.as_ptr()
            }
        }
        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: the pointer is owned by this value alone and is freed once.
                unsafe { $free(self.0.as_ptr()) }
            }
        }
    };
}

owned!(Number, sys::BIGNUM, sys::BN_free);
owned!(Asking, sys::BN_GENCB, sys::BN_GENCB_free);
owned!(Rsa, sys::RSA, sys::RSA_free);
owned!(EcKey, sys::EC_KEY, sys::EC_KEY_free);
owned!(KeyContext, sys::EVP_PKEY_CTX, sys::EVP_PKEY_CTX_free);
owned!(HashContext, sys::EVP_MD_CTX, sys::EVP_MD_CTX_free);
owned!(EcdsaSignature, sys::ECDSA_SIG, sys::ECDSA_SIG_free);
owned!(RawKey, sys::EVP_PKEY, sys::EVP_PKEY_free);

/// What the library calls between two steps of looking for primes; 0 ends it.
///
/// # Safety
/// The argument of `asking` points to a living `&dyn Fn() -> bool`.
unsafe extern "C" fn may_go_on(_: c_int, _: c_int, asking: *mut sys::BN_GENCB) -> c_int {
    // SAFETY: as above.
    let late = unsafe { *sys::BN_GENCB_get_arg(asking).cast::<&dyn Fn() -> bool>() };
    c_int::from(!late())
}

/// Turns the library's 1 into success.
pub(super) fn done(result: c_int, why: &'static str) -> Result<()> {
    if result == 1 {
        return Ok(());
    }
    // SAFETY: the error queue belongs to this thread; leaving errors in it would mislead a later caller.
    unsafe { sys::ERR_clear_error() };
    Err(CryptoError(why))
}

impl Number {
    /// The number written big-endian in `bytes`.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        // SAFETY: the library reads `bytes.len()` bytes and returns a number of its own.
        Self::own(unsafe { sys::BN_bin2bn(bytes.as_ptr(), bytes.len(), ptr::null_mut()) }, "no memory")
    }

    fn zero() -> Result<Self> {
        // SAFETY: no arguments.
        Self::own(unsafe { sys::BN_new() }, "no memory")
    }

    fn bytes(&self, width: usize) -> Result<Vec<u8>> {
        number_bytes(self.as_ptr(), width)
    }
}

/// Big-endian bytes of a borrowed number; `width` 0 means as many as it has.
fn number_bytes(number: *const sys::BIGNUM, width: usize) -> Result<Vec<u8>> {
    if number.is_null() {
        return Err(CryptoError("the key lacks a number"));
    }
    // SAFETY: the number is alive for the call, and the buffer has the length that is given.
    unsafe {
        let length = if width == 0 { usize::try_from(sys::BN_num_bytes(number)).unwrap_or(0) } else { width };
        let mut bytes = vec![0; length];
        done(sys::BN_bn2bin_padded(bytes.as_mut_ptr(), length, number), "a number of the key is too long")?;
        Ok(bytes)
    }
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Rsa,
    /// Curve, and bytes of a coordinate.
    Ec(Curve),
    Ed25519,
    X25519,
}

/// Curves of ECDSA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    pub(super) const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    fn number(self) -> i32 {
        match self {
            Self::P256 => sys::NID_X9_62_prime256v1,
            Self::P384 => sys::NID_secp384r1,
            Self::P521 => sys::NID_secp521r1,
        }
    }

    /// Name in JSON Web Keys (RFC 7518 section 6.2.1.1).
    pub(super) fn jwk_name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }

    /// Bytes of a coordinate or of a scalar.
    pub(super) fn width(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

/// A public key, or a key pair.
pub(super) struct Key {
    raw: RawKey,
    /// Whether the private half is there.
    pub(super) private: bool,
    pub(super) kind: Kind,
}

/// The numbers of an RSA key, big-endian without leading zeros.
pub(super) struct RsaNumbers {
    pub(super) n: Vec<u8>,
    pub(super) e: Vec<u8>,
    /// d, p, q, dp, dq, qi.
    pub(super) private: Option<[Vec<u8>; 6]>,
}

/// The numbers of an EC key, big-endian in the curve's width.
pub(super) struct EcNumbers {
    pub(super) curve: Curve,
    pub(super) x: Vec<u8>,
    pub(super) y: Vec<u8>,
    pub(super) d: Option<Vec<u8>>,
}

impl Key {
    fn new(raw: RawKey, private: bool) -> Result<Self> {
        // SAFETY: the key is alive; what is got from it is borrowed for this block only.
        let kind = unsafe {
            match sys::EVP_PKEY_id(raw.as_ptr()) {
                sys::EVP_PKEY_RSA => Kind::Rsa,
                sys::EVP_PKEY_ED25519 => Kind::Ed25519,
                sys::EVP_PKEY_X25519 => Kind::X25519,
                sys::EVP_PKEY_EC => {
                    let key = sys::EVP_PKEY_get0_EC_KEY(raw.as_ptr());
                    let name = sys::EC_GROUP_get_curve_name(sys::EC_KEY_get0_group(key));
                    let curve = Curve::ALL.into_iter().find(|curve| curve.number() == name);
                    Kind::Ec(curve.ok_or(CryptoError("the key is on an unsupported curve"))?)
                }
                _ => return Err(CryptoError("the key is of an unsupported kind")),
            }
        };
        Ok(Self { raw, private, kind })
    }

    pub(super) fn as_ptr(&self) -> *mut sys::EVP_PKEY {
        self.raw.as_ptr()
    }

    /// A private key from PEM text: PKCS#8, SEC 1 or PKCS#1.
    pub(super) fn private_from_pem(text: &str) -> Result<Self> {
        const WHY: &str = "Failed to parse PEM: not a private key";
        let (label, der) = pem::first(text).ok_or(CryptoError(WHY))?;
        if !label.ends_with("PRIVATE KEY") {
            return Err(CryptoError(WHY));
        }
        let length = std::ffi::c_long::try_from(der.len()).map_err(|_| CryptoError(WHY))?;
        let mut at = der.as_ptr();
        // SAFETY: the library reads at most `length` bytes from `at`, and returns a key of its own.
        let key = unsafe { sys::d2i_AutoPrivateKey(ptr::null_mut(), &raw mut at, length) };
        Self::new(RawKey::own(key, WHY)?, true)
    }

    /// A public key from PEM text: a public key, or the one in a certificate.
    pub(super) fn public_from_pem(text: &str) -> Result<Self> {
        const WHY: &str = "Failed to parse PEM: neither a public key nor a certificate";
        let (label, der) = pem::first(text).ok_or(CryptoError(WHY))?;
        match label {
            "PUBLIC KEY" => Self::public_from_der(&der),
            "CERTIFICATE" => {
                let (_, certificate) =
                    x509_parser::parse_x509_certificate(&der).map_err(|_| CryptoError(WHY))?;
                Self::public_from_der(certificate.public_key().raw)
            }
            _ => Err(CryptoError(WHY)),
        }
    }

    /// A public key from a SubjectPublicKeyInfo.
    pub(super) fn public_from_der(der: &[u8]) -> Result<Self> {
        const WHY: &str = "Failed to parse PEM: not a public key";
        // SAFETY: the library reads `der.len()` bytes through the cursor and returns a key of its own.
        let key = unsafe {
            let mut cursor = std::mem::MaybeUninit::<sys::CBS>::zeroed();
            sys::CBS_init(cursor.as_mut_ptr(), der.as_ptr(), der.len());
            sys::EVP_parse_public_key(cursor.as_mut_ptr())
        };
        if key.is_null() {
            done(0, WHY)?;
        }
        Self::new(RawKey::own(key, WHY)?, false)
    }

    /// A new RSA key pair. Primes are looked for until `late` says otherwise.
    pub(super) fn generate_rsa(bits: u32, exponent: u64, late: &dyn Fn() -> bool) -> Result<Self> {
        const WHY: &str = "Failed to generate an RSA key pair";
        if !RSA_BITS.contains(&bits) {
            return Err(CryptoError("Invalid RSA key size: expected 1024 to 8192 bits"));
        }
        // With others there is no key, and the library would look for one without end.
        if exponent < 3 || exponent.is_multiple_of(2) {
            return Err(CryptoError("Invalid RSA exponent: expected an odd number above 1"));
        }
        let bits = c_int::try_from(bits).map_err(|_| CryptoError(WHY))?;
        let exponent = Number::from_bytes(&exponent.to_be_bytes())?;
        // SAFETY: key, exponent, and what the callback points to are alive during the call, which alone uses it.
        unsafe {
            let rsa = Rsa::own(sys::RSA_new(), WHY)?;
            let asking = Asking::own(sys::BN_GENCB_new(), "no memory")?;
            sys::BN_GENCB_set(asking.as_ptr(), Some(may_go_on), (&raw const late).cast_mut().cast());
            let made = sys::RSA_generate_key_ex(rsa.as_ptr(), bits, exponent.as_ptr(), asking.as_ptr());
            done(made, WHY)?;
            Self::of_rsa(&rsa, true)
        }
    }

    fn of_rsa(rsa: &Rsa, private: bool) -> Result<Self> {
        // SAFETY: the new key takes a reference of its own.
        unsafe {
            let raw = RawKey::own(sys::EVP_PKEY_new(), "no memory")?;
            done(sys::EVP_PKEY_set1_RSA(raw.as_ptr(), rsa.as_ptr()), "the RSA key is malformed")?;
            Self::new(raw, private)
        }
    }

    /// A new ECDSA key pair.
    pub(super) fn generate_ec(curve: Curve) -> Result<Self> {
        const WHY: &str = "Failed to generate an ECDSA key pair";
        // SAFETY: the key is alive during the call.
        unsafe {
            let key = EcKey::own(sys::EC_KEY_new_by_curve_name(curve.number()), WHY)?;
            done(sys::EC_KEY_generate_key(key.as_ptr()), WHY)?;
            Self::of_ec(&key, true)
        }
    }

    fn of_ec(key: &EcKey, private: bool) -> Result<Self> {
        // SAFETY: the new key takes a reference of its own.
        unsafe {
            let raw = RawKey::own(sys::EVP_PKEY_new(), "no memory")?;
            done(sys::EVP_PKEY_set1_EC_KEY(raw.as_ptr(), key.as_ptr()), "the EC key is malformed")?;
            Self::new(raw, private)
        }
    }

    /// A new Ed25519 or X25519 key pair.
    pub(super) fn generate_25519(kind: Kind) -> Result<Self> {
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_| CryptoError("no random numbers are available"))?;
        Self::private_25519(kind, &seed)
    }

    /// The pair of an Ed25519 or X25519 private key.
    pub(super) fn private_25519(kind: Kind, bytes: &[u8]) -> Result<Self> {
        const WHY: &str = "the private key is malformed";
        let id = if kind == Kind::Ed25519 { sys::EVP_PKEY_ED25519 } else { sys::EVP_PKEY_X25519 };
        // SAFETY: the library copies `bytes.len()` bytes.
        let key =
            unsafe { sys::EVP_PKEY_new_raw_private_key(id, ptr::null_mut(), bytes.as_ptr(), bytes.len()) };
        Self::new(RawKey::own(key, WHY)?, true)
    }

    /// An Ed25519 or X25519 public key.
    pub(super) fn public_25519(kind: Kind, bytes: &[u8]) -> Result<Self> {
        const WHY: &str = "the public key is malformed";
        let id = if kind == Kind::Ed25519 { sys::EVP_PKEY_ED25519 } else { sys::EVP_PKEY_X25519 };
        // SAFETY: the library copies `bytes.len()` bytes.
        let key =
            unsafe { sys::EVP_PKEY_new_raw_public_key(id, ptr::null_mut(), bytes.as_ptr(), bytes.len()) };
        Self::new(RawKey::own(key, WHY)?, false)
    }

    /// An EC key of its coordinates and, for a pair, its scalar. The point must be on the curve and, for a
    /// pair, belong to the scalar.
    pub(super) fn from_ec_numbers(curve: Curve, x: &[u8], y: &[u8], d: Option<&[u8]>) -> Result<Self> {
        const WHY: &str = "the EC key is malformed";
        let (x, y) = (Number::from_bytes(x)?, Number::from_bytes(y)?);
        // SAFETY: key and numbers are alive during the calls, which copy the numbers.
        unsafe {
            let key = EcKey::own(sys::EC_KEY_new_by_curve_name(curve.number()), WHY)?;
            done(sys::EC_KEY_set_public_key_affine_coordinates(key.as_ptr(), x.as_ptr(), y.as_ptr()), WHY)?;
            if let Some(d) = d {
                let d = Number::from_bytes(d)?;
                done(sys::EC_KEY_set_private_key(key.as_ptr(), d.as_ptr()), WHY)?;
            }
            done(sys::EC_KEY_check_key(key.as_ptr()), WHY)?;
            Self::of_ec(&key, d.is_some())
        }
    }

    /// An RSA key of its numbers, which must belong together.
    pub(super) fn from_rsa_numbers(numbers: &RsaNumbers) -> Result<Self> {
        const WHY: &str = "the RSA key is malformed";
        let (n, e) = (Number::from_bytes(&numbers.n)?, Number::from_bytes(&numbers.e)?);
        let rsa = match &numbers.private {
            // SAFETY: the numbers are alive during the call, which copies them.
            None => unsafe { Rsa::own(sys::RSA_new_public_key(n.as_ptr(), e.as_ptr()), WHY)? },
            Some(private) => {
                let [d, p, q, dp, dq, qi] = private.each_ref().map(|bytes| Number::from_bytes(bytes));
                let (d, p, q, dp, dq, qi) = (d?, p?, q?, dp?, dq?, qi?);
                // SAFETY: as above.
                let rsa = unsafe {
                    sys::RSA_new_private_key(
                        n.as_ptr(),
                        e.as_ptr(),
                        d.as_ptr(),
                        p.as_ptr(),
                        q.as_ptr(),
                        dp.as_ptr(),
                        dq.as_ptr(),
                        qi.as_ptr(),
                    )
                };
                Rsa::own(rsa, WHY)?
            }
        };
        Self::of_rsa(&rsa, numbers.private.is_some())
    }

    /// The numbers of an RSA key.
    pub(super) fn rsa_numbers(&self) -> Result<RsaNumbers> {
        // SAFETY: what is got from the key is borrowed while the key is alive.
        unsafe {
            let rsa = sys::EVP_PKEY_get0_RSA(self.as_ptr());
            if rsa.is_null() {
                return Err(CryptoError("the key is not an RSA key"));
            }
            let private = if self.private {
                Some([
                    number_bytes(sys::RSA_get0_d(rsa), 0)?,
                    number_bytes(sys::RSA_get0_p(rsa), 0)?,
                    number_bytes(sys::RSA_get0_q(rsa), 0)?,
                    number_bytes(sys::RSA_get0_dmp1(rsa), 0)?,
                    number_bytes(sys::RSA_get0_dmq1(rsa), 0)?,
                    number_bytes(sys::RSA_get0_iqmp(rsa), 0)?,
                ])
            } else {
                None
            };
            let (n, e) = (number_bytes(sys::RSA_get0_n(rsa), 0)?, number_bytes(sys::RSA_get0_e(rsa), 0)?);
            Ok(RsaNumbers { n, e, private })
        }
    }

    /// Curve, coordinates and, for a pair, scalar of an EC key, in the curve's width.
    pub(super) fn ec_numbers(&self) -> Result<EcNumbers> {
        let Kind::Ec(curve) = self.kind else { return Err(CryptoError("the key is not an EC key")) };
        let (x, y) = (Number::zero()?, Number::zero()?);
        // SAFETY: what is got from the key is borrowed while the key is alive; the numbers are written.
        unsafe {
            let key = sys::EVP_PKEY_get0_EC_KEY(self.as_ptr());
            let point = sys::EC_KEY_get0_public_key(key);
            let group = sys::EC_KEY_get0_group(key);
            let why = "the EC key has no public point";
            let (to_x, to_y) = (x.as_ptr(), y.as_ptr());
            done(sys::EC_POINT_get_affine_coordinates(group, point, to_x, to_y, ptr::null_mut()), why)?;
            let d = if self.private {
                Some(number_bytes(sys::EC_KEY_get0_private_key(key), curve.width())?)
            } else {
                None
            };
            Ok(EcNumbers { curve, x: x.bytes(curve.width())?, y: y.bytes(curve.width())?, d })
        }
    }

    /// The 32 bytes of an Ed25519 or X25519 key: public and, for a pair, private.
    pub(super) fn bytes_25519(&self) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
        if !matches!(self.kind, Kind::Ed25519 | Kind::X25519) {
            return Err(CryptoError("the key is not an Ed25519 or X25519 key"));
        }
        let (mut public, mut private) = (vec![0; 32], vec![0; 32]);
        let (mut public_length, mut private_length) = (32, 32);
        // SAFETY: the buffers have the lengths that are given.
        unsafe {
            let why = "the key cannot be read";
            let key = self.as_ptr();
            done(sys::EVP_PKEY_get_raw_public_key(key, public.as_mut_ptr(), &raw mut public_length), why)?;
            if self.private {
                let to = private.as_mut_ptr();
                done(sys::EVP_PKEY_get_raw_private_key(key, to, &raw mut private_length), why)?;
            }
        }
        Ok((public, self.private.then_some(private)))
    }

    /// PKCS#8 PEM of a pair.
    pub(super) fn private_pem(&self) -> Result<String> {
        if !self.private {
            return Err(CryptoError("the key has no private half"));
        }
        Ok(pem::write("PRIVATE KEY", &self.marshal(sys::EVP_marshal_private_key)?))
    }

    /// SubjectPublicKeyInfo PEM of the public half.
    pub(super) fn public_pem(&self) -> Result<String> {
        Ok(pem::write("PUBLIC KEY", &self.marshal(sys::EVP_marshal_public_key)?))
    }

    fn marshal(
        &self,
        with: unsafe extern "C" fn(*mut sys::CBB, *const sys::EVP_PKEY) -> c_int,
    ) -> Result<Vec<u8>> {
        const WHY: &str = "the key cannot be encoded";
        // SAFETY: the builder is initialised before use; its bytes are copied and then freed.
        unsafe {
            let mut builder = std::mem::MaybeUninit::<sys::CBB>::zeroed();
            done(sys::CBB_init(builder.as_mut_ptr(), 256), WHY)?;
            if with(builder.as_mut_ptr(), self.as_ptr()) != 1 {
                sys::CBB_cleanup(builder.as_mut_ptr());
                done(0, WHY)?;
            }
            let (mut start, mut length) = (ptr::null_mut(), 0);
            done(sys::CBB_finish(builder.as_mut_ptr(), &raw mut start, &raw mut length), WHY)?;
            let bytes = std::slice::from_raw_parts(start, length).to_vec();
            sys::OPENSSL_free(start.cast());
            Ok(bytes)
        }
    }
}
