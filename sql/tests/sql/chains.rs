//! Joins that lead from key to key answer without the planner what they answer with it.

use datafusion::scalar::ScalarValue;
use silt_sql::Params;

use super::point::{Both, Random};

/// Few names, so that paths meet; parallel edges, cycles, NULLs, nodes that no edge has.
fn graph(random: &mut Random) -> Both {
    let mut both = Both::new();
    let none = Params::none();
    both.run(
        "CREATE TABLE edges (source TEXT, kind INTEGER, target TEXT, weight BIGINT, note TEXT,
            f DOUBLE, PRIMARY KEY (source, kind, target))",
        &none,
    );
    both.run("CREATE TABLE nodes (id TEXT PRIMARY KEY, parent TEXT, size INTEGER)", &none);
    both.run("CREATE TABLE reals (f DOUBLE PRIMARY KEY, n BIGINT)", &none);
    both.run("INSERT INTO reals VALUES (0.0, 1), (0.5, 2), ('NaN'::DOUBLE, 3)", &none);
    for _ in 0..4 {
        for _ in 0..60 {
            let (source, kind, target) = (random.below(25), random.below(3), random.below(25));
            let note = match random.below(3) {
                0 => "NULL".to_owned(),
                _ => format!("'n{}'", random.below(30)),
            };
            let f = random.pick(&["0.0", "-0.0", "0.5", "'NaN'::DOUBLE", "NULL"]);
            both.run(
                &format!(
                    "INSERT INTO edges VALUES ('n{source}', {kind}, 'n{target}', {}, {note}, {f})
                     ON CONFLICT (source, kind, target) DO UPDATE SET weight = 7",
                    random.below(5)
                ),
                &none,
            );
        }
        let gone = random.below(25);
        both.run(&format!("DELETE FROM edges WHERE source = 'n{gone}' AND kind = 1"), &none);
        if random.one_in(2) {
            both.flush();
        }
    }
    for id in 0..20 {
        let parent =
            if random.one_in(3) { "NULL".to_owned() } else { format!("'n{}'", random.below(25)) };
        both.run(&format!("INSERT INTO nodes VALUES ('n{id}', {parent}, {})", id % 4), &none);
    }
    both
}

/// What is given of the tables `a`, `b` and, if there is one, `c`.
fn given(random: &mut Random, has_c: bool) -> (&'static str, &'static str) {
    let all = [
        ("b.*", ""),
        ("a.weight, b.target, a.target", ""),
        ("count(*)", ""),
        ("count(*), count(b.note), count(1)", ""),
        ("count(DISTINCT b.target)", ""),
        ("count(DISTINCT b.note)", ""),
        ("DISTINCT b.target, b.kind", ""),
        ("DISTINCT b.f", ""),
        ("b.target, a.kind AS k", "ORDER BY b.target DESC, k, a.target, b.kind, a.note, b.weight"),
        ("DISTINCT b.note, b.kind", "ORDER BY b.note NULLS FIRST, b.kind LIMIT 3"),
        ("b.target, a.kind, a.target", "ORDER BY 1, 2, 3, b.kind LIMIT 4 OFFSET 1"),
        ("b.kind, count(*)", "GROUP BY b.kind"),
        ("sum(b.weight)", ""),
        ("a.weight + b.weight", ""),
    ];
    let with_c = [("count(DISTINCT c.target)", ""), ("c.*, a.kind", ""), ("count(c.note)", "")];
    match has_c && random.one_in(2) {
        true => *random.pick(&with_c),
        false => *random.pick(&all),
    }
}

fn query(random: &mut Random) -> String {
    let start = format!("n{}", random.below(26));
    let also = *random.pick(&[
        "",
        " AND a.kind = 1",
        " AND b.kind = 2",
        " AND b.kind = 0 AND b.target = 'n3'",
        " AND b.target = 'n3'",
        " AND a.weight > 2",
        " AND a.source = 'n1'",
        " AND a.kind IN (0, 2)",
    ]);
    let on = *random.pick(&[
        "b.source = a.target",
        "b.source = a.target AND b.kind = a.kind",
        "b.source = a.note",
        "b.source = a.target AND b.target = a.source",
        "b.source = a.target AND b.weight > a.weight",
        "b.source = a.target AND b.kind = a.weight",
    ]);
    match random.below(8) {
        0..=2 => {
            let (given, tail) = given(random, false);
            let join = random.pick(&["JOIN", "JOIN", "LEFT JOIN"]);
            format!(
                "SELECT {given} FROM edges a {join} edges b ON {on} WHERE a.source = '{start}'{also} {tail}"
            )
        }
        3 | 4 => {
            let (given, tail) = given(random, true);
            let next =
                random.pick(&["c.source = b.target", "c.source = b.target AND c.kind = a.kind"]);
            format!(
                "SELECT {given} FROM edges a JOIN edges b ON {on} JOIN edges c ON {next}
                 WHERE a.source = '{start}'{also} {tail}"
            )
        }
        5 => {
            let given = random.pick(&[
                "a.target, n.size",
                "count(*)",
                "count(n.parent)",
                "n.*",
                "count(DISTINCT n.size)",
            ]);
            let by = random.pick(&["a.target", "a.note"]);
            format!(
                "SELECT {given} FROM edges a JOIN nodes n ON n.id = {by} WHERE a.source = '{start}'"
            )
        }
        6 => {
            let exists = random.pick(&["EXISTS", "EXISTS", "NOT EXISTS"]);
            format!(
                "SELECT target, kind FROM edges a WHERE source = '{start}' AND {exists}
                 (SELECT 1 FROM nodes n WHERE n.id = a.target)"
            )
        }
        _ => {
            let given = random.pick(&["r.n", "count(*)"]);
            format!(
                "SELECT {given} FROM edges a JOIN reals r ON r.f = a.f WHERE a.source = '{start}'"
            )
        }
    }
}

#[test]
fn chains_of_keys_answer_as_the_planner_does() {
    for seed in 1..=6 {
        let mut random = Random(seed * 0x9e37_79b9);
        let mut both = graph(&mut random);
        for _ in 0..120 {
            both.run(&query(&mut random), &Params::none());
        }
        assert!(both.short_runs() > 250, "{} runs without the planner", both.short_runs());
    }
}

/// Whether a query is answered without the planner, once it is known.
#[track_caller]
fn is_chain(both: &mut Both, sql: &str, params: &Params) -> bool {
    both.run(sql, params);
    let before = both.short_runs();
    both.run(sql, params);
    both.short_runs() > before
}

#[test]
fn chains_take_the_forms_they_are_for_and_no_others() {
    let mut both = graph(&mut Random(77));
    let none = Params::none();
    let taken = [
        "SELECT b.target FROM edges a JOIN edges b ON b.source = a.target WHERE a.source = 'n1'",
        "SELECT count(DISTINCT c.target) FROM edges a, edges b, edges c
         WHERE a.source = 'n1' AND b.source = a.target AND c.source = b.target",
        "SELECT n.* FROM nodes n WHERE n.id IN (SELECT target FROM edges WHERE source = 'n2')",
        "SELECT target FROM edges e WHERE source = 'n2' AND EXISTS
         (SELECT 1 FROM nodes n WHERE n.id = e.target)",
        "SELECT count(*) FROM edges WHERE source = 'n3' AND kind = 1",
        "SELECT count(DISTINCT target) FROM edges WHERE source = 'n3'",
        "SELECT DISTINCT b.kind FROM edges a JOIN edges b ON b.source = a.target
         WHERE a.source = 'n4' ORDER BY b.kind LIMIT 2",
    ];
    for sql in taken {
        assert!(is_chain(&mut both, sql, &none), "{sql}");
    }
    let left = [
        "SELECT b.target FROM edges a JOIN edges b ON b.source = a.target",
        "SELECT b.target FROM edges a LEFT JOIN edges b ON b.source = a.target WHERE a.source = 'n1'",
        "SELECT b.target FROM edges a JOIN edges b ON b.target = a.target WHERE a.source = 'n1'",
        "SELECT r.n FROM edges a JOIN reals r ON r.f = a.f WHERE a.source = 'n1'",
        "SELECT sum(b.weight) FROM edges a JOIN edges b ON b.source = a.target WHERE a.source = 'n1'",
        "SELECT count(*) FROM edges",
    ];
    for sql in left {
        assert!(!is_chain(&mut both, sql, &none), "{sql}");
    }
}

#[test]
fn chains_take_parameters_of_any_type_as_the_planner_does() {
    let mut both = graph(&mut Random(5));
    let sql = "SELECT a.kind, b.* FROM edges a JOIN edges b ON b.source = a.target AND b.kind = $2
               WHERE a.source = $1";
    let text = |text: &str| ScalarValue::Utf8(Some(text.to_owned()));
    for kind in [
        ScalarValue::Int64(Some(1)),
        ScalarValue::Int32(Some(2)),
        ScalarValue::Int64(Some(1 << 40)),
        ScalarValue::Float64(Some(1.0)),
        ScalarValue::Float64(Some(1.5)),
        ScalarValue::Int64(None),
        ScalarValue::Null,
        text("1"),
    ] {
        for source in [text("n1"), text("n2"), text("nobody"), ScalarValue::Utf8(None)] {
            both.run(sql, &Params::positional(vec![source, kind.clone()]));
        }
    }
}

#[test]
fn chain_that_meets_many_rows_is_left_to_the_planner_for_a_while() {
    let mut both = Both::new();
    let none = Params::none();
    both.run("CREATE TABLE t (a BIGINT, b BIGINT, PRIMARY KEY (a, b))", &none);
    both.run("INSERT INTO t SELECT 1, value FROM generate_series(1, 20000)", &none);
    both.run("INSERT INTO t SELECT value, 1 FROM generate_series(2, 5000)", &none);
    // Too many rows of one key, too many keys, too many pairs.
    for sql in [
        "SELECT count(*) FROM t WHERE a = 1",
        "SELECT count(*) FROM t x JOIN t y ON y.a = x.b WHERE x.a = 1",
        "SELECT count(*) FROM t x JOIN t y ON y.a = x.b WHERE x.a = 7",
    ] {
        assert!(!is_chain(&mut both, sql, &none), "{sql}");
    }
    // A text with another value is the same statement: it rests as well, and comes back.
    let text = |value: usize| format!("SELECT count(*) FROM t WHERE a = {value}");
    assert!((2..200).any(|value| both.runs_short(&text(value))));
    assert!(both.runs_short(&text(200)));
    assert!(!both.runs_short(&text(1)));
    let rested = (300..500).take_while(|&value| !both.runs_short(&text(value))).count();
    assert!((2..200).contains(&rested), "it rested {rested} runs");
}
