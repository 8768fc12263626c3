// Runs an ONNX model on one float32 batch by onnxruntime-node:
//   NODE_PATH=<folder>/node_modules node ort_run.cjs model.onnx in.f32 out.f32 batch,3,H,W [repeats]
// Writes the output and prints its shape and the median time of a run as JSON.
const fs = require('fs');
const ort = require('onnxruntime-node');

async function main() {
  const [model, input, output, dims, repeats] = process.argv.slice(2);
  const shape = dims.split(',').map(Number);
  const bytes = fs.readFileSync(input);
  const data = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  const session = await ort.InferenceSession.create(model, { intraOpNumThreads: 1 });
  const feeds = { [session.inputNames[0]]: new ort.Tensor('float32', data, shape) };
  const times = [];
  let result;
  for (let i = 0; i < Number(repeats || 1); i++) {
    const begun = performance.now();
    result = await session.run(feeds);
    times.push(performance.now() - begun);
  }
  const out = result[session.outputNames[0]];
  fs.writeFileSync(output, Buffer.from(out.data.buffer, out.data.byteOffset, out.data.byteLength));
  times.sort((a, b) => a - b);
  console.log(JSON.stringify({ dims: out.dims, ms: times[times.length >> 1], fastest: times[0] }));
}

main().catch((error) => { console.error(error); process.exit(1); });
