//! The 22 queries of TPC-H, with three sets of the parameters that its specification allows; the
//! first are those of its validation.

use tpchgen::q_and_a::QueryAndAnswer;

const PARAMETERS: [[&str; 3]; 22] = [
    ["90", "60", "120"],
    ["15|BRASS|EUROPE", "25|STEEL|ASIA", "38|TIN|AMERICA"],
    ["BUILDING|1995-03-15", "AUTOMOBILE|1995-03-05", "HOUSEHOLD|1995-03-25"],
    ["1993-07-01", "1994-10-01", "1996-04-01"],
    ["ASIA|1994-01-01", "EUROPE|1995-01-01", "AFRICA|1996-01-01"],
    ["1994-01-01|0.06|24", "1995-01-01|0.04|25", "1996-01-01|0.08|24"],
    ["FRANCE|GERMANY", "CHINA|JAPAN", "BRAZIL|CANADA"],
    [
        "BRAZIL|AMERICA|ECONOMY ANODIZED STEEL",
        "JAPAN|ASIA|SMALL PLATED COPPER",
        "FRANCE|EUROPE|LARGE BRUSHED BRASS",
    ],
    ["green", "blue", "almond"],
    ["1993-10-01", "1994-05-01", "1994-11-01"],
    ["GERMANY|0.0001", "FRANCE|0.0001", "CHINA|0.0001"],
    ["MAIL|SHIP|1994-01-01", "TRUCK|AIR|1995-01-01", "RAIL|FOB|1996-01-01"],
    ["special|requests", "pending|packages", "express|accounts"],
    ["1995-09-01", "1994-02-01", "1996-11-01"],
    ["1996-01-01", "1995-04-01", "1997-06-01"],
    [
        "Brand#45|MEDIUM POLISHED|49|14|23|45|19|3|36|9",
        "Brand#13|SMALL PLATED|5|8|11|22|30|35|41|50",
        "Brand#21|LARGE BRUSHED|2|7|16|21|29|33|40|48",
    ],
    ["Brand#23|MED BOX", "Brand#42|LG CAN", "Brand#15|JUMBO PKG"],
    ["300", "312", "314"],
    [
        "Brand#12|Brand#23|Brand#34|1|10|20",
        "Brand#21|Brand#32|Brand#43|4|14|24",
        "Brand#51|Brand#15|Brand#44|7|17|27",
    ],
    ["forest|1994-01-01|CANADA", "azure|1995-01-01|FRANCE", "lace|1996-01-01|JAPAN"],
    ["SAUDI ARABIA", "FRANCE", "CHINA"],
    ["13|31|23|29|30|18|17", "10|11|12|14|15|16|19", "20|21|22|24|25|26|27"],
];

/// One query with set `set` of its parameters.
pub fn query(number: usize, set: usize) -> String {
    let values: Vec<&str> = PARAMETERS[number - 1][set % 3].split('|').collect();
    if number == 15 {
        // The specification makes a view first, which stands as a CTE here.
        return format!(
            "with revenue0 (supplier_no, total_revenue) as (
                select l_suppkey, sum(l_extendedprice * (1 - l_discount)) from lineitem
                where l_shipdate >= date '{0}' and l_shipdate < date '{0}' + interval '3' month
                group by l_suppkey)
             select s_suppkey, s_name, s_address, s_phone, total_revenue from supplier, revenue0
             where s_suppkey = supplier_no
               and total_revenue = (select max(total_revenue) from revenue0)
             order by s_suppkey",
            values[0]
        );
    }
    let query = QueryAndAnswer::new(number as i32, 1.0).expect("there are 22 queries");
    let mut text = query.query().trim().trim_end_matches(';').to_owned();
    // Backwards, for `:1` begins `:10`.
    for (index, value) in values.iter().enumerate().rev() {
        text = text.replace(&format!(":{}", index + 1), value);
    }
    // Not every peer plans an interval with a precision.
    let text = text.replace("day (3)", "day");
    let limit = match number {
        2 | 18 | 21 => " limit 100",
        3 => " limit 10",
        10 => " limit 20",
        _ => "",
    };
    format!("{text}{limit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_is_filled_in() {
        for number in 1..=22 {
            let texts: Vec<String> = (0..3).map(|set| query(number, set)).collect();
            assert!(texts[0] != texts[1] && texts[1] != texts[2], "Q{number}");
            for text in texts {
                let left = (1..=9).find(|digit| text.contains(&format!(":{digit}")));
                assert_eq!(left, None, "Q{number}");
            }
        }
    }
}
