//! How large a run is. Ratios hold from `small` on; `smoke` only shows that everything works.

/// Sizes and times of a run.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub name: &'static str,
    /// Agents, each of which writes [`EVENTS_PER_AGENT`] events.
    pub agents: u64,
    /// Subjects, each of ten triples; as many objects.
    pub entities: u64,
    /// Scale factor of TPC-H.
    pub tpch: f64,
    /// Upserts of a set; there are [`UPSERT_SETS`].
    pub upserts: u64,
    /// Lookups of one repetition.
    pub gets: usize,
    /// Times that a short case is repeated.
    pub repetitions: usize,
    /// Seconds of single commits.
    pub insert_s: f64,
    /// Seconds of one writer beside one reader.
    pub mixed_s: f64,
    /// Seconds after which a slow peer's case is cut short, its rest done untimed.
    pub patience_s: f64,
    /// Bytes that the machine's limits are measured with.
    pub limit_bytes: usize,
}

/// Events of one agent.
pub const EVENTS_PER_AGENT: u64 = 1_000;
/// Triples of one subject.
pub const TRIPLES_PER_SUBJECT: u64 = 10;
/// Sets of upserts.
pub const UPSERT_SETS: usize = 3;
/// Rows of a transaction of many.
pub const CHUNK: usize = 1_000;
/// Lookups whose answers are compared: the first of each case.
pub const CHECKED: usize = 50;

impl Scale {
    /// The scale of that name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "full" => Some(Self {
                name: "full",
                agents: 2_000,
                entities: 500_000,
                tpch: 1.0,
                upserts: 500_000,
                gets: 100_000,
                repetitions: 5,
                insert_s: 3.0,
                mixed_s: 20.0,
                patience_s: 20.0,
                limit_bytes: 1 << 30,
            }),
            "small" => Some(Self {
                name: "small",
                agents: 200,
                entities: 50_000,
                tpch: 0.1,
                upserts: 50_000,
                gets: 20_000,
                repetitions: 5,
                insert_s: 1.5,
                mixed_s: 5.0,
                patience_s: 5.0,
                limit_bytes: 256 << 20,
            }),
            "smoke" => Some(Self {
                name: "smoke",
                agents: 20,
                entities: 2_000,
                tpch: 0.01,
                upserts: 3_000,
                gets: 200,
                repetitions: 3,
                insert_s: 0.2,
                mixed_s: 0.5,
                patience_s: 1.0,
                limit_bytes: 16 << 20,
            }),
            _ => None,
        }
    }

    /// Ranges read in one repetition.
    pub fn ranges(&self) -> usize {
        (self.gets / 10).max(2 * CHECKED)
    }

    /// Rows of `lineitem` that are rewritten.
    pub fn rewrites(&self) -> u64 {
        self.upserts / 5
    }

    /// Rows of `events`.
    pub fn events(&self) -> u64 {
        self.agents * EVENTS_PER_AGENT
    }
}
