//! [`params!`](crate::params): Rust values as the parameters of a statement.

use datafusion::scalar::ScalarValue;

/// A value that may stand for a parameter.
pub trait ToParam {
    /// The value as SQL knows it.
    fn to_param(&self) -> ScalarValue;
}

macro_rules! to_param {
    ($($rust:ty => $variant:ident),* $(,)?) => {$(
        impl ToParam for $rust {
            fn to_param(&self) -> ScalarValue {
                ScalarValue::$variant(Some(self.clone()))
            }
        }
    )*};
}

to_param! {
    bool => Boolean,
    i8 => Int8,
    i16 => Int16,
    i32 => Int32,
    i64 => Int64,
    u8 => UInt8,
    u16 => UInt16,
    u32 => UInt32,
    u64 => UInt64,
    f32 => Float32,
    f64 => Float64,
    String => Utf8View,
    Vec<u8> => BinaryView,
}

impl ToParam for str {
    fn to_param(&self) -> ScalarValue {
        ScalarValue::Utf8View(Some(self.to_owned()))
    }
}

impl ToParam for [u8] {
    fn to_param(&self) -> ScalarValue {
        ScalarValue::BinaryView(Some(self.to_vec()))
    }
}

impl ToParam for ScalarValue {
    fn to_param(&self) -> ScalarValue {
        self.clone()
    }
}

impl<T: ToParam> ToParam for Option<T> {
    fn to_param(&self) -> ScalarValue {
        self.as_ref().map_or(ScalarValue::Null, ToParam::to_param)
    }
}

impl<T: ToParam + ?Sized> ToParam for &T {
    fn to_param(&self) -> ScalarValue {
        (**self).to_param()
    }
}

/// The parameters of a statement: `params![7, "reply"]` for `?` and `$1` by position,
/// `params! { ":agent" => 7 }` for `:agent` by name.
#[macro_export]
macro_rules! params {
    () => { $crate::Params::none() };
    ($($name:expr => $value:expr),+ $(,)?) => {
        $crate::Params::none()$(.with_named($name, $crate::ToParam::to_param(&$value)))+
    };
    ($($value:expr),+ $(,)?) => {
        $crate::Params::positional(::std::vec![$($crate::ToParam::to_param(&$value)),+])
    };
}
