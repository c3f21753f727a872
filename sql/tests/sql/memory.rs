//! How much memory a session's statements may have.

use std::sync::Arc;

use silt_sql::{ErrorKind, Session, Shared, SqlOptions};

use super::harness::Db;

#[test]
fn a_statement_has_its_share_and_gives_it_back() {
    let sql = "SELECT count(*) FROM (SELECT DISTINCT repeat(CAST(value AS TEXT), 20) FROM
               generate_series(1, 200000))";
    let open = |session_memory_bytes| {
        let options = SqlOptions { threads: 2, session_memory_bytes, ..SqlOptions::default() };
        Shared::in_memory(silt_storage::Options::default(), options).unwrap()
    };
    let mut whole = Db { session: Session::new(open(usize::MAX)) };
    assert_eq!(whole.rows(sql), "200000");
    let shared = open(4 << 20);
    for _ in 0..3 {
        let mut part = Db { session: Session::new(Arc::clone(&shared)) };
        let error = part.error(sql);
        assert_eq!(error.kind(), ErrorKind::ResourcesExhausted, "{error}");
        // Nothing is left of it.
        for _ in 0..3 {
            let small = sql.replace("200000", "2000");
            assert_eq!(part.rows(&small), "2000");
        }
    }
}
