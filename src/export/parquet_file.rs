//! Writes a Parquet file: flat columns, all optional, with snappy and statistics of each row group.
//!
//! The same groups of rows give the same bytes. Start at [`ParquetFile::create`].

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as PhysicalType};
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DoubleType, FixedLenByteArray, FixedLenByteArrayType, Int32Type,
    Int64Type,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};

use super::canonical::PRECISION;
use super::columns::{ColumnValues, GroupColumn, OutputColumn, OutputKind, RowGroup, TableLayout};

/// Bytes of a decimal.
const DECIMAL_BYTES: usize = 16;

/// A column with more distinct values in a row group is written as it is: a dictionary of unique values only costs time.
const DICTIONARY_BYTES: usize = 64 << 10;

/// Bytes of the smallest and largest text that a row group's statistics keep.
const STATISTICS_BYTES: usize = 64;

pub(super) struct ParquetFile<W: Write + Send> {
    writer: SerializedFileWriter<W>,
}

impl<W: Write + Send> ParquetFile<W> {
    /// Starts a file with these pairs of metadata.
    pub(super) fn create(
        out: W,
        layout: &TableLayout,
        metadata: &[(String, String)],
    ) -> Result<ParquetFile<W>, ParquetError> {
        let pairs = metadata.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        let properties = WriterProperties::builder()
            .set_created_by(concat!("data-sources-monitor version ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_statistics_truncate_length(Some(STATISTICS_BYTES))
            .set_offset_index_disabled(true)
            .set_dictionary_page_size_limit(DICTIONARY_BYTES)
            .set_key_value_metadata(Some(pairs.collect()))
            .build();
        let writer = SerializedFileWriter::new(out, schema(layout)?, Arc::new(properties))?;
        Ok(ParquetFile { writer })
    }

    /// Writes one row group.
    pub(super) fn write(&mut self, group: &mut RowGroup) -> Result<(), ParquetError> {
        let mut out = self.writer.next_row_group()?;
        for column in &mut group.columns {
            let Some(writer) = out.next_column()? else { break };
            write_column(writer, column)?;
        }
        out.close()?;
        Ok(())
    }

    /// Writes the footer, and returns what the file was written to.
    pub(super) fn finish(self) -> Result<W, ParquetError> {
        self.writer.into_inner()
    }
}

fn write_column(
    mut writer: SerializedColumnWriter<'_>,
    column: &mut GroupColumn,
) -> Result<(), ParquetError> {
    let levels = Some(column.levels.as_slice());
    match &mut column.values {
        ColumnValues::Boolean(values) => writer.typed::<BoolType>().write_batch(values, levels, None)?,
        ColumnValues::Int32(values) => writer.typed::<Int32Type>().write_batch(values, levels, None)?,
        ColumnValues::Int64(values) => writer.typed::<Int64Type>().write_batch(values, levels, None)?,
        ColumnValues::Double(values) => writer.typed::<DoubleType>().write_batch(values, levels, None)?,
        ColumnValues::Decimal(values) => {
            let bytes: Bytes =
                values.iter().flat_map(|value| value.to_be_bytes()).collect::<Vec<u8>>().into();
            let value =
                |at: usize| ByteArray::from(bytes.slice(at * DECIMAL_BYTES..(at + 1) * DECIMAL_BYTES));
            let values: Vec<FixedLenByteArray> = (0..values.len()).map(|at| value(at).into()).collect();
            writer.typed::<FixedLenByteArrayType>().write_batch(&values, levels, None)?
        }
        ColumnValues::Text(bytes, ends) => {
            // Shared by all values instead of copied for each.
            let whole = Bytes::from(std::mem::take(bytes));
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let values: Vec<ByteArray> =
                starts.zip(ends.iter()).map(|(start, end)| whole.slice(start..*end).into()).collect();
            writer.typed::<ByteArrayType>().write_batch(&values, levels, None)?;
            drop(values);
            writer.close()?;
            // No one shares it any more, so that the allocation is used again.
            *bytes = whole.try_into_mut().map(Vec::from).unwrap_or_default();
            return Ok(());
        }
    };
    writer.close()
}

fn schema(layout: &TableLayout) -> Result<TypePtr, ParquetError> {
    let fields = layout.columns.iter().map(field).collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?))
}

fn field(column: &OutputColumn) -> Result<TypePtr, ParquetError> {
    let (physical, logical) = match column.kind {
        OutputKind::Boolean => (PhysicalType::BOOLEAN, None),
        OutputKind::Bigint => (PhysicalType::INT64, None),
        OutputKind::Double => (PhysicalType::DOUBLE, None),
        OutputKind::Decimal { scale } => {
            let (scale, precision) = (i32::from(scale), i32::from(PRECISION));
            (PhysicalType::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::decimal(scale, precision)))
        }
        OutputKind::Date => (PhysicalType::INT32, Some(LogicalType::Date)),
        OutputKind::Timestamp => (PhysicalType::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
        OutputKind::Text => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
    };
    let mut field = Type::primitive_type_builder(&column.name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical);
    if let OutputKind::Decimal { scale } = column.kind {
        let length = i32::try_from(DECIMAL_BYTES).unwrap_or(i32::MAX);
        field = field.with_length(length).with_precision(i32::from(PRECISION)).with_scale(i32::from(scale));
    }
    Ok(Arc::new(field.build()?))
}
