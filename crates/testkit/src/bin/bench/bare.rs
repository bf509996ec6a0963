//! The bare runtime: Wasmtime's pooling allocator and a fresh WASI context a call, and nothing of
//! ours. What a careful embedder would write who needs no deadline, limit, policy or record.

use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, InstancePre, Linker, Module,
    PoolingAllocationConfig, Store,
};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::p2::pipe::{MemoryInputPipe, MemoryOutputPipe};

/// A linked module.
pub(crate) struct Bare {
    engine: Engine,
    linked: InstancePre<WasiP1Ctx>,
}

/// Room for the output, in bytes: the same as the engine's default limit.
const OUTPUT: usize = 1 << 20;

impl Bare {
    pub(crate) fn new(code: &[u8]) -> anyhow::Result<Self> {
        let mut config = Config::new();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(
            PoolingAllocationConfig::new(),
        ));
        let engine = Engine::new(&config).map_err(plain)?;
        let module = Module::new(&engine, wat::parse_bytes(code)?).map_err(plain)?;
        let mut linker = Linker::new(&engine);
        p1::add_to_linker_sync(&mut linker, |wasi| wasi).map_err(plain)?;
        let linked = linker.instantiate_pre(&module).map_err(plain)?;
        Ok(Self { engine, linked })
    }

    /// Instantiates and runs, and gives back what was written to standard output.
    pub(crate) fn call(&self, input: &str) -> anyhow::Result<bytes::Bytes> {
        let stdout = MemoryOutputPipe::new(OUTPUT);
        let wasi = WasiCtxBuilder::new()
            .stdin(MemoryInputPipe::new(input.to_owned()))
            .stdout(stdout.clone())
            .build_p1();
        let mut store = Store::new(&self.engine, wasi);
        let instance = self.linked.instantiate(&mut store).map_err(plain)?;
        let start = instance
            .get_typed_func::<(), ()>(&mut store, "_start")
            .map_err(plain)?;
        start.call(&mut store, ()).map_err(plain)?;
        Ok(stdout.contents())
    }
}

/// Wasmtime's error as one of ours.
fn plain(error: wasmtime::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}")
}
