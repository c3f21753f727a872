//! What the server says of itself and of its SQL: nothing that it does not do.

use std::sync::LazyLock;

use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::{
    CommandGetSqlInfo, SqlInfo, SqlNullOrdering, SqlOuterJoinsSupportLevel, SqlSupportedGroupBy,
    SqlSupportedSubqueries, SqlSupportedTransaction, SqlSupportedUnions,
    SqlTransactionIsolationLevel,
};
use datafusion::arrow::array::RecordBatch;
use tonic::Status;

/// The rows that a client asks for, or all.
pub(super) fn answer(command: CommandGetSqlInfo) -> Result<RecordBatch, Status> {
    let failed = |error: &dyn std::fmt::Display| {
        Status::internal(format!("the answer cannot be built: {error}"))
    };
    let infos = INFOS.as_ref().map_err(|error| failed(error))?;
    command.into_builder(infos).build().map_err(|error| failed(&error))
}

static INFOS: LazyLock<Result<SqlInfoData, String>> =
    LazyLock::new(|| builder().build().map_err(|error| error.to_string()));

fn builder() -> SqlInfoDataBuilder {
    let mut infos = SqlInfoDataBuilder::new();
    infos.append(SqlInfo::FlightSqlServerName, "SiltDB");
    infos.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    infos.append(SqlInfo::FlightSqlServerArrowVersion, datafusion::arrow::ARROW_VERSION);
    infos.append(SqlInfo::FlightSqlServerReadOnly, false);
    infos.append(SqlInfo::FlightSqlServerSql, true);
    infos.append(SqlInfo::FlightSqlServerSubstrait, false);
    infos.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::Transaction as i32);
    infos.append(SqlInfo::FlightSqlServerCancel, true);
    infos.append(SqlInfo::FlightSqlServerBulkIngestion, true);
    infos.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, true);

    infos.append(SqlInfo::SqlDdlCatalog, false);
    infos.append(SqlInfo::SqlDdlSchema, true);
    infos.append(SqlInfo::SqlDdlTable, true);
    infos.append(SqlInfo::SqlIdentifierCase, CASE_LOWER);
    infos.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    infos.append(SqlInfo::SqlQuotedIdentifierCase, CASE_SENSITIVE);
    infos.append(SqlInfo::SqlAllTablesAreSelectable, true);
    infos.append(SqlInfo::SqlNullOrdering, SqlNullOrdering::SqlNullsSortedHigh as i64);
    infos.append(SqlInfo::SqlSearchStringEscape, "\\");
    infos.append(SqlInfo::SqlExtraNameCharacters, "");
    infos.append(SqlInfo::SqlSupportsColumnAliasing, true);
    infos.append(SqlInfo::SqlNullPlusNullIsNull, true);
    infos.append(SqlInfo::SqlSupportsTableCorrelationNames, true);
    infos.append(SqlInfo::SqlSupportsDifferentTableCorrelationNames, false);
    infos.append(SqlInfo::SqlSupportsExpressionsInOrderBy, true);
    infos.append(SqlInfo::SqlSupportsOrderByUnrelated, true);
    infos.append(
        SqlInfo::SqlSupportedGroupBy,
        bits(&[SqlSupportedGroupBy::SqlGroupByUnrelated as i32]),
    );
    infos.append(SqlInfo::SqlSupportsLikeEscapeClause, true);
    infos.append(SqlInfo::SqlSupportsNonNullableColumns, true);
    infos.append(SqlInfo::SqlSupportsIntegrityEnhancementFacility, false);
    let joins = [
        SqlOuterJoinsSupportLevel::SqlLimitedOuterJoins as i32,
        SqlOuterJoinsSupportLevel::SqlFullOuterJoins as i32,
    ];
    infos.append(SqlInfo::SqlOuterJoinsSupportLevel, bits(&joins));
    infos.append(SqlInfo::SqlSchemaTerm, "schema");
    infos.append(SqlInfo::SqlCatalogTerm, "database");
    infos.append(SqlInfo::SqlCatalogAtStart, true);
    infos.append(SqlInfo::SqlSelectForUpdateSupported, false);
    infos.append(SqlInfo::SqlStoredProceduresSupported, false);
    let subqueries = [
        SqlSupportedSubqueries::SqlSubqueriesInComparisons as i32,
        SqlSupportedSubqueries::SqlSubqueriesInExists as i32,
        SqlSupportedSubqueries::SqlSubqueriesInIns as i32,
    ];
    infos.append(SqlInfo::SqlSupportedSubqueries, bits(&subqueries));
    infos.append(SqlInfo::SqlCorrelatedSubqueriesSupported, true);
    let unions = [SqlSupportedUnions::SqlUnion as i32, SqlSupportedUnions::SqlUnionAll as i32];
    infos.append(SqlInfo::SqlSupportedUnions, bits(&unions));
    infos.append(SqlInfo::SqlMaxColumnsInTable, 4_096_i64);

    // Snapshot isolation: stronger than repeatable read in all but write skew.
    let isolation = SqlTransactionIsolationLevel::SqlTransactionRepeatableRead as i32;
    infos.append(SqlInfo::SqlDefaultTransactionIsolation, i64::from(isolation));
    infos.append(SqlInfo::SqlTransactionsSupported, true);
    infos.append(SqlInfo::SqlSupportedTransactionsIsolationLevels, bits(&[isolation]));
    infos.append(SqlInfo::SqlDataDefinitionCausesTransactionCommit, false);
    infos.append(SqlInfo::SqlDataDefinitionsInTransactionsIgnored, false);
    infos.append(SqlInfo::SqlBatchUpdatesSupported, true);
    infos.append(SqlInfo::SqlSavepointsSupported, false);
    infos.append(SqlInfo::SqlNamedParametersSupported, true);
    infos
}

/// Names without quotes are folded to lower case.
const CASE_LOWER: i64 =
    arrow_flight::sql::SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i64;
/// Names in quotes are as they are, which the list calls upper case's opposite: not insensitive.
const CASE_SENSITIVE: i64 =
    arrow_flight::sql::SqlSupportedCaseSensitivity::SqlCaseSensitivityUnknown as i64;

fn bits(numbers: &[i32]) -> i32 {
    numbers.iter().fold(0, |bits, number| bits | 1 << number)
}
