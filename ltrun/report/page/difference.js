// The difference of two rows with its 95 % interval, as `ltrun compare` defines it, in the limit of many resamples:
// variance over seeds, and of test images beyond the chance of single images in single seeds, each with its own quantile.

const LEVEL = 0.05, STEPS = 1000;

function logGamma(x) { // Lanczos, 1964
  const c = [76.18009172947146, -86.50532032941677, 24.01409824083091, -1.231739572450155, 0.1208650973866179e-2,
    -0.5395239384953e-5];
  let series = 1.000000000190015;
  c.forEach((value, i) => { series += value / (x + 1 + i); });
  return -(x + 5.5) + (x + 0.5) * Math.log(x + 5.5) + Math.log(2.5066282746310005 * series / x);
}

function exceeding(t, freedom) { // P(|T| > t); with t = sqrt(f) tan(a) the density is proportional to cos(a)^(f - 1)
  const start = Math.atan(t / Math.sqrt(freedom)), width = (Math.PI / 2 - start) / STEPS;
  let area = 0;
  for (let i = 0; i <= STEPS; i++) {
    area += Math.sin(i * width) ** (freedom - 1) * (i === 0 || i === STEPS ? 1 : i % 2 ? 4 : 2);
  }
  const scale = Math.sqrt(Math.PI) / 2 * Math.exp(logGamma(freedom / 2) - logGamma((freedom + 1) / 2));
  return Math.min(1, area * width / 3 / scale);
}

function normalTail(z) { // P(|Z| > z), by Simpson's rule to 9, beyond which nothing is left to print
  if (z >= 9) return 0;
  const width = (9 - z) / STEPS;
  let area = 0;
  for (let i = 0; i <= STEPS; i++) {
    const x = z + i * width;
    area += Math.exp(-x * x / 2) * (i === 0 || i === STEPS ? 1 : i % 2 ? 4 : 2);
  }
  return Math.min(1, 2 * area * width / 3 / Math.sqrt(2 * Math.PI));
}

function exceeded(probability, level, most, close = 1e-9) { // the x that is exceeded with this probability
  let low = 0, high = most;
  while (high - low > close * Math.max(1, low)) {
    const middle = (low + high) / 2;
    if (probability(middle) > level) low = middle; else high = middle;
  }
  return high;
}

const quantile = (freedom) => exceeded((t) => exceeding(t, freedom), LEVEL, 1e6);
const NORMAL = exceeded(normalTail, LEVEL, 9);

const tail = (size, variance, probability) => (variance > 0 ? probability(size / Math.sqrt(variance)) : size === 0 ? 1 : 0);

function ofBoth(size, S, B, freedom) { // the level at which the root of t^2 S + z^2 B is as large as the difference
  if (size === 0 || S === 0) return tail(size, B, normalTail);
  const whole = (t) => t * t * S + exceeded(normalTail, exceeding(t, freedom), 9, 1e-6) ** 2 * B;
  return exceeding(exceeded((t) => (whole(t) < size * size ? 1 : 0), LEVEL, size / Math.sqrt(S), 1e-6), freedom);
}

// ours, theirs: for each seed the hits of N images. weights: of the images, null for 1 each.
function byImages(ours, theirs, weights) {
  const n = ours.length, N = ours[0].length;
  const D = new Float64Array(n), m = new Float64Array(N);
  const d = (s, i) => (ours[s][i] - theirs[s][i]) * (weights ? weights[i] : 1);
  for (let s = 0; s < n; s++) for (let i = 0; i < N; i++) { const x = d(s, i); D[s] += x / N; m[i] += x / n; }
  const whole = mean([...D]);
  let S = 0, I = 0, X = 0;
  for (let s = 0; s < n; s++) if (n > 1) S += (D[s] - whole) ** 2 / (n - 1) / n;
  for (let i = 0; i < N; i++) I += (m[i] - whole) ** 2 / N ** 2;
  if (n > 1) {
    for (let s = 0; s < n; s++) for (let i = 0; i < N; i++) X += (d(s, i) - m[i] - D[s] + whole) ** 2;
    X /= (n - 1) * n * N ** 2;
  }
  const noise = NORMAL * Math.sqrt(I), size = Math.abs(whole);
  let p = tail(size, I, normalTail), half = noise;
  if (n > 1) {
    const B = Math.max(0, I - X);
    half = Math.max(Math.sqrt(quantile(n - 1) ** 2 * S + NORMAL ** 2 * B), noise);
    p = Math.max(p, ofBoth(size, S, B, n - 1));
  }
  return { difference: whole, half, p, n, images: weights ? null : Math.round(whole * N), of: N };
}

// ours, theirs: one number for each paired seed. Only the noise of seeds is known.
function bySeeds(ours, theirs) {
  const each = ours.map((value, i) => value - theirs[i]), n = each.length, whole = mean(each);
  if (n < 2) return { difference: whole, half: null, p: null, n, images: null };
  const S = deviation(each) ** 2 / n;
  return { difference: whole, half: quantile(n - 1) * Math.sqrt(S), p: tail(Math.abs(whole), S, (t) => exceeding(t, n - 1)),
    n, images: null };
}
