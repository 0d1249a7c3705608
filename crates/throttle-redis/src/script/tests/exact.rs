//! Exact arithmetic above 2^53, compared with 128-bit integers.

use redis::Cmd;

use super::{random::Random, server::Server};

const COUNT: usize = 20_000;

#[test]
fn products_of_any_size_are_divided_exactly() {
    let mut random = Random::new(53);
    let mut number = |bits: u64| {
        let end = 1 << (random.below(bits) + 1);
        let number = random.below(end);
        // Rounding errors occur near powers of two.
        if random.one_in(3) { (1 << random.below(bits)) - 1 + random.below(3) } else { number }
    };
    let numbers: Vec<_> =
        (0..COUNT).map(|_| [number(53), number(50), number(50).max(1), number(50)]).collect();
    let mut cmd = redis::cmd("EVAL");
    cmd.arg(concat!(
        include_str!("../../lua/exact.lua"),
        "local answers = {}
        for i = 1, #ARGV, 4 do
          local a, b = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
          local c, more = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
          local hi, lo = product(a, b)
          local q, r = mul_div(a, b, c)
          local q2, r2 = quotient(hi, lo + more, c)
          answers[#answers + 1] = string.format(
            '%.0f %.0f %.0f %.0f %.0f %.0f', hi, lo, q, r, q2, r2)
        end
        return answers"
    ))
    .arg(0);
    numbers.iter().flatten().for_each(|number| {
        cmd.arg(*number);
    });
    check(&cmd, &numbers);
}

fn check(cmd: &Cmd, numbers: &[[u64; 4]]) {
    let mut server = Server::start();
    let answers: Vec<String> = server.ask(cmd).unwrap();
    assert_eq!(answers.len(), numbers.len());
    for (answer, numbers) in answers.iter().zip(numbers) {
        let got: Vec<i128> = answer.split(' ').map(|word| word.parse().unwrap()).collect();
        let [a, b, c, more] = numbers.map(i128::from);
        let divided = |whole: i128| {
            let most = 1 << 53;
            if whole / c >= most { [most, 0] } else { [whole / c, whole % c] }
        };
        assert_eq!(got[0] + got[1], a * b, "{numbers:?}");
        // A quotient above 2^53 need not be exact.
        assert_eq!(saturated(&got[2..4]), divided(a * b), "{numbers:?}");
        assert_eq!(saturated(&got[4..6]), divided(a * b + more), "{numbers:?}");
    }
}

fn saturated(answer: &[i128]) -> [i128; 2] {
    if answer[0] >= 1 << 53 { [1 << 53, 0] } else { [answer[0], answer[1]] }
}
