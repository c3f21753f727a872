//! Sums and averages of expressions, computed from packed numbers where nothing can overflow, are
//! those that DataFusion computes in 128 bits: to the last digit, NULLs and errors included.

use std::fmt::Write as _;

use silt_sql::{ErrorKind, Params, ScanOptions, Session, Shared, SqlOptions};

use super::harness::{Db, lines, shown};

fn db(aggregates: bool) -> Db {
    let storage = silt_storage::Options {
        memtable_bytes: 256 << 10,
        group_rows: 2_500,
        ..silt_storage::Options::default()
    };
    let scan = ScanOptions { aggregates, ..ScanOptions::default() };
    let options = SqlOptions { threads: 2, scan, ..SqlOptions::default() };
    Db { session: Session::new(Shared::in_memory(storage, options).unwrap()) }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn between(&mut self, low: i64, high: i64) -> i64 {
        low.wrapping_add_unsigned(self.below(high.abs_diff(low) + 1))
    }
}

/// How far the numbers of a table reach, and one row in how many has a NULL.
#[derive(Clone, Copy, Debug)]
struct Reach {
    price: (i64, i64),
    rate: (i64, i64),
    big: (i64, i64),
    small: (i64, i64),
    null_one_in: u64,
}

const REACHES: [Reach; 4] = [
    Reach {
        price: (90_000, 10_494_950),
        rate: (0, 10),
        big: (-1_000_000, 1_000_000),
        small: (0, 50),
        null_one_in: 0,
    },
    Reach {
        price: (-5_000_000, 5_000_000),
        rate: (-999, 999),
        big: (-4_000_000_000, 9_000_000_000),
        small: (-2_000_000_000, 2_000_000_000),
        null_one_in: 2_000,
    },
    Reach {
        price: (-999_999_999_999_999, 999_999_999_999_999),
        rate: (-9_999, 9_999),
        big: (i64::MIN + 1, i64::MAX),
        small: (-2_147_483_647, 2_147_483_647),
        null_one_in: 0,
    },
    Reach { price: (700, 700), rate: (5, 5), big: (-3, -3), small: (1, 2), null_one_in: 0 },
];

fn decimal(digits: i64) -> String {
    let sign = if digits < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", digits.unsigned_abs() / 100, digits.unsigned_abs() % 100)
}

fn rows(dice: &mut Dice, reach: Reach, from: u64, count: u64) -> String {
    let mut values = String::new();
    for id in from..from + count {
        let mut between = |(low, high)| dice.between(low, high);
        let (price, rate) = (decimal(between(reach.price)), decimal(between(reach.rate)));
        let (big, small) = (between(reach.big), between(reach.small));
        let kind = ["'a'", "'b'", "'c'"][usize::try_from(dice.below(3)).unwrap()];
        let flag = ["'x'", "'y'"][usize::try_from(dice.below(2)).unwrap()];
        let null = reach.null_one_in > 0 && dice.below(reach.null_one_in) == 0;
        let price = if null { "NULL".to_owned() } else { price };
        let part = dice.below(40);
        let comma = if id == from { "" } else { ", " };
        write!(values, "{comma}({id}, {kind}, {flag}, {part}, {price}, {rate}, {big}, {small})")
            .unwrap();
    }
    values
}

const SUMS: [&str; 7] = [
    "sum(rate), sum(price), sum(price * (1 - rate)), sum(price * (1 - rate) * (1 + rate)), \
     avg(rate), avg(price), avg(price * rate), count(*), count(price)",
    "sum(small * 2 + 1), sum(big - small), sum(big), sum(small), avg(small)",
    "sum(price + rate * CAST(2.125 AS DECIMAL(4,3))), sum(price - small), sum(rate * rate * rate)",
    "sum(small * small), min(price), max(big), sum(price * big)",
    "sum(price * price * price * price)",
    "sum(CAST(small AS DECIMAL(6,1)) * rate), sum(CAST(price AS DECIMAL(38,10)))",
    "avg(1 - rate), sum(-rate), sum(rate / 3), sum(CASE WHEN small > 7 THEN price ELSE 0 END)",
];

const FROMS: [&str; 6] = [
    "FROM t",
    "FROM t WHERE part < 39",
    "FROM t WHERE part >= 20",
    "FROM t WHERE part = 7",
    "FROM t WHERE rate <> 0.05",
    "FROM t WHERE id > 100 AND id < 4000",
];

fn answer(db: &mut Db, sql: &str) -> Result<String, ErrorKind> {
    let result = db.session.execute_one(sql, &Params::none()).and_then(lines);
    result.map(|lines| shown(lines, sql)).map_err(|error| error.kind())
}

#[test]
fn sums_computed_from_packed_numbers_are_those_of_decimals() {
    let mut failed = 0;
    for (seed, reach) in (0..).zip(REACHES) {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (seed + 1));
        let (mut plain, mut packed) = (db(false), db(true));
        let mut on_both = |sql: &str| {
            plain.try_run(sql).unwrap();
            packed.try_run(sql).unwrap();
        };
        on_both(
            "CREATE TABLE t (id BIGINT PRIMARY KEY, kind TEXT, flag TEXT NOT NULL, part INTEGER,
             price DECIMAL(18,2), rate DECIMAL(12,2) NOT NULL, big BIGINT, small INTEGER NOT NULL)",
        );
        for from in (0..9_000).step_by(1_500) {
            on_both(&format!("INSERT INTO t VALUES {}", rows(&mut dice, reach, from, 1_500)));
        }
        on_both("DELETE FROM t WHERE id % 97 = 3");
        for sums in SUMS {
            for from in FROMS {
                let sqls = [
                    format!("SELECT {sums} {from}"),
                    format!("SELECT kind, flag, {sums} {from} GROUP BY kind, flag"),
                    format!("SELECT part, {sums} {from} GROUP BY part"),
                ];
                for sql in sqls {
                    let wanted = answer(&mut plain, &sql);
                    failed += usize::from(wanted.is_err());
                    assert_eq!(answer(&mut packed, &sql), wanted, "{reach:?}: {sql}");
                }
            }
        }
    }
    assert!(failed > 0, "no sum overflowed");
}

#[test]
fn explain_analyze_shows_rows_whose_numbers_were_added_up_as_packed() {
    let shown = |reach: Reach| {
        let mut dice = Dice(7);
        let mut db = db(true);
        db.run(
            "CREATE TABLE t (id BIGINT PRIMARY KEY, kind TEXT, flag TEXT, part INTEGER,
             price DECIMAL(18,2), rate DECIMAL(12,2), big BIGINT, small INTEGER)",
        );
        for from in (0..9_000).step_by(1_500) {
            db.run(&format!("INSERT INTO t VALUES {}", rows(&mut dice, reach, from, 1_500)));
        }
        db.session.shared().engine().flush().unwrap();
        db.rows(
            "EXPLAIN ANALYZE SELECT kind, sum(price * (1 - rate)), avg(rate) FROM t GROUP BY kind",
        )
    };
    let plan = shown(REACHES[0]);
    assert!(plan.contains("rows_added_up=9.00 K"), "{plan}");
    // Products of such prices and rates may leave 64 bits.
    let plan = shown(REACHES[2]);
    assert!(plan.contains("rows_added_up=0"), "{plan}");
}
