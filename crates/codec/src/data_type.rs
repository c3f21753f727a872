//! Which Arrow types are stored, how, and their bytes in the manifest.
use arrow_schema::DataType;

/// Whether a column may have this type.
pub fn is_supported(_data_type: &DataType) -> bool {
    todo!()
}

/// The type that values of this type are stored as: `Utf8` becomes `Utf8View`, and so on; `None` if they cannot be.
pub fn stored_type(_data_type: &DataType) -> Option<DataType> {
    todo!()
}
