//! Bounds of an IFC import and the reasons to refuse a file. Each reason says what is wrong,
//! where, and what would be right; none of them quotes the content of a record.

/// Upper bounds of one import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IfcLimits {
    /// Largest file, in bytes. Positions are kept in 32 bits, so 4 GiB is the end in any case.
    pub file_bytes_max: usize,
    /// Most records in the file.
    pub records_max: usize,
    /// Largest single record that is decoded, in bytes.
    pub record_bytes_max: usize,
    /// Most bytes decoded in one import, counting a record each time it is read; at least eight
    /// times the file is always granted.
    pub decoded_bytes_max: u64,
    /// Most storeys.
    pub storeys_max: usize,
    /// Most spaces.
    pub spaces_max: usize,
    /// Most elements.
    pub elements_max: usize,
    /// Longest name in bytes; longer ones are cut, with a warning.
    pub name_bytes_max: usize,
    /// Most points in the outline of one space; finer ones become a bounding rectangle.
    pub polygon_points_max: usize,
    /// Deepest chain of placements, curves or representations.
    pub depth_max: usize,
    /// Most warnings listed; further ones are counted.
    pub warnings_max: usize,
}

impl Default for IfcLimits {
    fn default() -> Self {
        Self {
            file_bytes_max: 512 * 1024 * 1024,
            records_max: 12_000_000,
            record_bytes_max: 4 * 1024 * 1024,
            decoded_bytes_max: 64 * 1024 * 1024,
            storeys_max: 1_000,
            spaces_max: 100_000,
            elements_max: 1_000_000,
            name_bytes_max: 1_024,
            polygon_points_max: 2_048,
            depth_max: 64,
            warnings_max: 50,
        }
    }
}

/// Why a file was refused. Nothing was imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IfcError {
    /// Not an IFC file in the STEP text form.
    #[error("{0}")]
    NotIfc(String),
    /// The end of the file is missing.
    #[error(
        "the file is cut off: it ends at byte {byte} (line {line}){last_record} without \
         END-ISO-10303-21; export or copy it again"
    )]
    Truncated {
        /// Where the file ends.
        byte: usize,
        /// The line it ends on.
        line: usize,
        /// `, after record #12,` or nothing.
        last_record: String,
    },
    /// A schema this program does not know.
    #[error(
        "schema {0} is not supported: expected FILE_SCHEMA with IFC2X3, IFC4, IFC4X1, IFC4X2 or \
         IFC4X3 (and their addenda)"
    )]
    Schema(String),
    /// A record cannot be read.
    #[error("the record at byte {byte} (line {line}) cannot be read: {problem}")]
    Record {
        /// Where the record starts.
        byte: usize,
        /// The line it starts on.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// A record lacks something, or refers to what is not there.
    #[error("record #{id} ({class}): {problem}")]
    Content {
        /// The record's instance number.
        id: u32,
        /// Its class.
        class: String,
        /// What is wrong.
        problem: String,
    },
    /// Something every building has is missing.
    #[error("the file holds no {missing}: {expected}")]
    Missing {
        /// The class that is missing.
        missing: &'static str,
        /// What would be right.
        expected: &'static str,
    },
    /// A bound was passed.
    #[error("limit {name} exceeded: at most {max}, the file has {actual}")]
    Limit {
        /// The bound's name, as in [`IfcLimits`].
        name: &'static str,
        /// The bound.
        max: u64,
        /// What the file has, or the least it could have.
        actual: u64,
    },
}
