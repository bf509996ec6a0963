//! The Wasmtime engines: their settings, and one engine for each kind of tool.

use std::sync::OnceLock;

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
};

use crate::code::CodeKind;

/// Native stack of a tool, in bytes. Deep recursion ends in a trap well before the fiber's stack
/// of [`FIBER_STACK_BYTES`] does, which host calls need a part of.
const WASM_STACK_BYTES: usize = 1 << 20;
/// Native stack of the fiber a tool runs on, in bytes.
const FIBER_STACK_BYTES: usize = 2 << 20;

/// Address space of one linear memory, in bytes: all a 32-bit program can ask for, so that bounds
/// checks are left to the page tables. The memory limit of a call is enforced apart from it.
const MEMORY_RESERVATION: u64 = 4 << 30;
/// Memory of a slot that is zeroed rather than returned to the kernel between calls, in bytes.
const KEEP_RESIDENT_BYTES: usize = 512 << 10;

/// Largest table, in elements. Programs compiled from Python have some ten thousand functions.
pub(crate) const TABLE_ELEMENTS: usize = 100_000;
/// Most core instances in one component; componentize-py makes one for each native library.
pub(crate) const COMPONENT_INSTANCES: u32 = 100;
/// Most linear memories in one component.
pub(crate) const COMPONENT_MEMORIES: u32 = 10;
/// Most tables in one component.
pub(crate) const COMPONENT_TABLES: u32 = 20;
/// Largest internal record of an instance, in bytes: bounds functions, globals and imports.
const INSTANCE_BYTES: usize = 4 << 20;

/// What an engine is made for. Code compiled for one kind does not load in another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EngineKind {
    pub(crate) code: CodeKind,
    /// Whether executed instructions are counted, which makes code slower.
    pub(crate) fuel: bool,
}

impl EngineKind {
    const ALL: [Self; 4] = [
        Self {
            code: CodeKind::Module,
            fuel: false,
        },
        Self {
            code: CodeKind::Module,
            fuel: true,
        },
        Self {
            code: CodeKind::Component,
            fuel: false,
        },
        Self {
            code: CodeKind::Component,
            fuel: true,
        },
    ];

    fn index(self) -> usize {
        usize::from(self.code == CodeKind::Component) * 2 + usize::from(self.fuel)
    }

    /// An engine that compiles, and reserves no memory for instances.
    pub(crate) fn compiling_engine(self) -> wasmtime::Result<Engine> {
        Engine::new(&self.settings())
    }

    /// The settings that compiled code depends on, the same for compiling and running.
    fn settings(self) -> Config {
        let mut config = Config::new();
        config
            .consume_fuel(self.fuel)
            .epoch_interruption(true)
            // A backtrace carries the program's own names for its functions, of any length and once
            // a frame: gigabytes of ours, for a tool that recurses.
            .wasm_backtrace_max_frames(None)
            .max_wasm_stack(WASM_STACK_BYTES)
            .async_stack_size(FIBER_STACK_BYTES)
            .memory_reservation(MEMORY_RESERVATION)
            .cranelift_opt_level(OptLevel::Speed)
            .wasm_component_model_async(self.code == CodeKind::Component)
            .concurrency_support(self.code == CodeKind::Component)
            // The pool's memories are 32-bit, and it has one for each module. A component's
            // adapters move data between the memories of its parts, so it needs several.
            .wasm_memory64(false)
            .wasm_multi_memory(self.code == CodeKind::Component);
        config
    }

    fn pool(self, slots: u32) -> PoolingAllocationConfig {
        let mut pool = PoolingAllocationConfig::new();
        let (instances, memories, tables) = match self.code {
            CodeKind::Module => (1, 1, 1),
            CodeKind::Component => (COMPONENT_INSTANCES, COMPONENT_MEMORIES, COMPONENT_TABLES),
        };
        pool.total_stacks(slots)
            .total_component_instances(slots)
            .total_core_instances(slots * instances)
            .total_memories(slots * memories)
            .total_tables(slots * tables)
            .max_core_instances_per_component(COMPONENT_INSTANCES)
            .max_memories_per_component(COMPONENT_MEMORIES)
            .max_tables_per_component(COMPONENT_TABLES)
            .max_core_instance_size(INSTANCE_BYTES)
            .max_component_instance_size(INSTANCE_BYTES)
            .table_elements(TABLE_ELEMENTS)
            .max_memory_size(usize::try_from(MEMORY_RESERVATION).unwrap_or(usize::MAX))
            .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
            .table_keep_resident(KEEP_RESIDENT_BYTES)
            .pagemap_scan(Enabled::Auto);
        pool
    }
}

/// Engines by kind, each made when a tool first needs it.
pub(crate) struct Engines {
    slots: u32,
    engines: [OnceLock<Engine>; 4],
}

impl Engines {
    /// Engines whose pools hold `slots` calls at once.
    pub(crate) fn new(slots: u32) -> Self {
        Self {
            slots,
            engines: [const { OnceLock::new() }; 4],
        }
    }

    /// The engine of this kind.
    pub(crate) fn get(&self, kind: EngineKind) -> wasmtime::Result<&Engine> {
        let slot = &self.engines[kind.index()];
        if slot.get().is_none() {
            let mut config = kind.settings();
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(kind.pool(self.slots)));
            // Two threads may both make one; the first kept is used by both.
            let _ = slot.set(Engine::new(&config)?);
        }
        slot.get()
            .ok_or_else(|| wasmtime::Error::msg("the engine was not kept"))
    }

    /// Those made so far.
    pub(crate) fn existing(&self) -> impl Iterator<Item = &Engine> {
        EngineKind::ALL
            .into_iter()
            .filter_map(|kind| self.engines[kind.index()].get())
    }
}
