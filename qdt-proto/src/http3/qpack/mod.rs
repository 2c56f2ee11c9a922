//! QPACK (RFC 9204) without a dynamic table: static table, literals, Huffman.
//!
//! We announce a table capacity of 0 and never insert, therefore every field section stands for
//! itself and no stream waits for another. A reference to the dynamic table is an error of the
//! peer. `integer` and `huffman` are the two primitives, `decode` and `encode` the two directions.

mod decode;
mod encode;
mod huffman;
mod integer;
mod static_table;

pub use decode::decode_field_section;
pub use encode::FieldSectionEncoder;
